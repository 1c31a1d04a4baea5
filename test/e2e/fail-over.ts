import { expect } from 'chai';
import { Choice, Outcome, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import { eventually } from '../support/eventually.ts';
import type { PairRig } from '../support/pairs.ts';
import { onlyId, TestCarillon } from '../support/start-carillon.ts';
import { freePort } from '../support/child-server.ts';
import { type StartedSmtp, startSmtp } from '../support/start-smtp.ts';
import { mail, quickRetries, realMail, RECIPIENT } from './samples.ts';
import { MovableClock, queueBy } from './scaled-time.ts';
import { attemptsOf, DOWN, type Sendgrid, startSendgrid, TAKEN } from './vendors.ts';

const FIRST_SENDGRID = 'notifications.email.providers=sendgrid,smtp';
/** As long as no test takes: the clock is moved past it. */
const OPEN_SECONDS = 60;
const OPEN_MS = OPEN_SECONDS * 1_000;

const circuit = (failures: number): string[] => [
  `notifications.circuit.failures=${failures}`,
  `notifications.circuit.open_seconds=${OPEN_SECONDS}`,
  `notifications.circuit.max_open_seconds=${OPEN_SECONDS}`,
];

/** SendGrid first, with a mail relay behind it. */
export function failOver(rig: PairRig): void {
  let smtp: StartedSmtp;
  const clock = new MovableClock();

  before(async () => {
    smtp = rig.owned.use(await startSmtp());
  });

  async function start(sendgrid: Sendgrid, ...more: readonly string[]): Promise<TestCarillon> {
    const set = [...quickRetries, ...realMail(smtp), ...sendgrid.settings, FIRST_SENDGRID, ...more];
    return TestCarillon.start({ store: await rig.store(), set, clock, decorate: queueBy(clock) });
  }

  const mailsTo = (email: string): number => smtp.mails.filter(({ to }) => to.includes(email)).length;
  const to = (email: string) => mail({ recipient: { ...RECIPIENT, email } });

  it('a first provider that is down hands over within one attempt, and once its circuit opens it is not asked', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    sendgrid.react = () => DOWN;
    await using carillon = await start(sendgrid, ...circuit(3));
    for (const email of ['a@example.com', 'b@example.com', 'c@example.com']) {
      const sent = await carillon.until(await carillon.sendOne(to(email)), Status.SENT);
      expect(attemptsOf(sent)).to.deep.equal(['1 sendgrid TEMPORARY_FAILURE', '1 smtp SENT']);
      expect(sent.attempts.map(({ choice }) => choice)).to.deep.equal([Choice.FIRST, Choice.FAIL_OVER]);
      expect(sent.targets[0]?.provider).to.equal('smtp');
      expect(mailsTo(email)).to.equal(1);
    }
    const id = await carillon.sendOne(to('d@example.com'));
    const sent = await carillon.until(id, Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal(['1 smtp SENT, not sendgrid: CIRCUIT_OPEN']);
    expect(sent.attempts[0]?.choice).to.equal(Choice.FIRST);
    expect(sendgrid.triesOf(id)).to.equal(0);
    expect(mailsTo('d@example.com')).to.equal(1);

    sendgrid.react = () => TAKEN;
    clock.moveOn(OPEN_MS);
    await eventually('sendgrid is used again', async () => {
      const again = await carillon.until(await carillon.sendOne(mail()), Status.SENT);
      return again.targets[0]?.provider === 'sendgrid';
    });
  });

  it('a first provider that nobody listens for hands over within one attempt', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    const nobody = `notifications.email.sendgrid.base_url=http://127.0.0.1:${await freePort()}`;
    await using carillon = await start(sendgrid, nobody);
    const sent = await carillon.until(await carillon.sendOne(to('e@example.com')), Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal(['1 sendgrid TEMPORARY_FAILURE', '1 smtp SENT']);
    expect(mailsTo('e@example.com')).to.equal(1);
  });

  it('refused credentials hand over, too', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    sendgrid.react = () => ({ status: 401, body: '{"errors":[{"message":"no"}]}' });
    await using carillon = await start(sendgrid);
    const sent = await carillon.until(await carillon.sendOne(mail()), Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal(['1 sendgrid PROVIDER_ERROR', '1 smtp SENT']);
  });

  it('a 429 with Retry-After makes its notification wait, costs no attempt, and others go on with the next', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    let refused = 0;
    sendgrid.react = () => ((refused += 1) === 1 ? { status: 429, headers: { 'retry-after': '60' } } : TAKEN);
    await using carillon = await start(sendgrid);
    const id = await carillon.sendOne(to('f@example.com'));
    await carillon.untilPending(id, Reason.RATE_LIMITED);
    const other = await carillon.until(await carillon.sendOne(mail()), Status.SENT);
    expect(attemptsOf(other)).to.deep.equal(['1 smtp SENT, not sendgrid: RATE_LIMITED']);
    clock.moveOn(60_000);
    const sent = await carillon.until(id, Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal(['1 sendgrid RATE_LIMITED', '1 sendgrid SENT']);
    expect(mailsTo('f@example.com')).to.equal(0);
  });

  it('an invalid recipient is not handed over', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    const errors = [{ message: 'no address', field: 'personalizations.0.to.0.email' }];
    sendgrid.react = () => ({ status: 400, body: JSON.stringify({ errors }) });
    await using carillon = await start(sendgrid);
    const failed = await carillon.until(await carillon.sendOne(to('g@example.com')), Status.FAILED);
    expect(failed.reason).to.equal(Reason.INVALID_RECIPIENT);
    expect(attemptsOf(failed)).to.deep.equal(['1 sendgrid INVALID_RECIPIENT']);
    expect(mailsTo('g@example.com')).to.equal(0);
  });
}

export function routeDown(rig: PairRig): void {
  it('with every provider down a notification waits as ROUTE_DOWN without an attempt, and is sent when one is back', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    sendgrid.react = () => DOWN;
    let closed = true;
    const smtp = rig.owned.use(
      await startSmtp({ onConnect: () => (closed ? { code: 421, text: '4.3.2 closing' } : undefined) }),
    );
    const set = [...realMail(smtp), ...sendgrid.settings, FIRST_SENDGRID, ...circuit(1)];
    const clock = new MovableClock();
    const options = { set, clock, decorate: queueBy(clock) };
    await using carillon = await TestCarillon.start({ store: await rig.store(), ...options });
    const first = await carillon.sendOne(mail());
    const failed = await carillon.untilPending(first, Reason.RETRYING);
    expect(attemptsOf(failed)).to.deep.equal(['1 sendgrid TEMPORARY_FAILURE', '1 smtp TEMPORARY_FAILURE']);

    const accepted = await carillon.send(mail());
    const id = onlyId(accepted);
    const held = await carillon.untilPending(id, Reason.ROUTE_DOWN);
    expect(held.attempts).to.deep.equal([]);
    sendgrid.react = () => TAKEN;
    closed = false;
    clock.moveOn(OPEN_MS);
    const sent = await carillon.until(id, Status.SENT);
    expect(sent.attempts.map(({ number, results }) => [number, results[0]?.outcome])).to.deep.equal([
      [1, Outcome.SENT],
    ]);
    const events = await carillon.eventsAfter(
      accepted.watchToken,
      (event) => event.notificationId === id && event.status === Status.SENT,
    );
    const reasons = events.filter((event) => event.notificationId === id && event.status === Status.PENDING);
    expect(new Set(reasons.map(({ reason }) => reason))).to.deep.equal(new Set([Reason.ROUTE_DOWN]));
  });
}
