import { expect } from 'chai';
import { Outcome, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { type Refusal, type StartedSmtp, startSmtp } from '../support/start-smtp.ts';
import { mail, quickRetries, realMail, RECIPIENT } from './samples.ts';

export function relays(rig: PairRig): void {
  let first: StartedSmtp;
  let second: StartedSmtp;
  let carillon: TestCarillon;
  /** What the first relay answers to whoever connects, or to each recipient. */
  let refusal: { readonly greeting?: Refusal; readonly recipient?: Refusal } = {};

  before(async () => {
    const settings = { onConnect: () => refusal.greeting, onRcptTo: () => refusal.recipient };
    first = rig.owned.use(await startSmtp(settings));
    second = rig.owned.use(await startSmtp());
    const set = [
      ...quickRetries,
      ...realMail(first),
      'notifications.email.providers=smtp,smtp_fallback',
      `notifications.email.smtp_fallback.host=${second.host}`,
      `notifications.email.smtp_fallback.port=${second.port}`,
      'notifications.email.smtp_fallback.from_address=shop@example.com',
    ];
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set }));
  });

  const told = async (email: string, status: Status): Promise<[string, string][]> => {
    const row = await carillon.until(await carillon.sendOne(mail({ recipient: { ...RECIPIENT, email } })), status);
    return row.attempts.map(({ provider, results }) => [provider, Outcome[results[0]?.outcome ?? 0] ?? '']);
  };

  it('the second takes over within the same attempt while the first is closed for business', async () => {
    refusal = { greeting: { code: 421, text: '4.3.2 closing' } };
    expect(await told('a@example.com', Status.SENT)).to.deep.equal([
      ['smtp', 'TEMPORARY_FAILURE'],
      ['smtp_fallback', 'SENT'],
    ]);
    expect(second.mails.filter(({ to }) => to.includes('a@example.com'))).to.have.length(1);
  });

  it('the second is not asked when the first says that there is no such address', async () => {
    refusal = { recipient: { code: 550, text: '5.1.1 no such user' } };
    expect(await told('b@example.com', Status.FAILED)).to.deep.equal([['smtp', 'INVALID_RECIPIENT']]);
    const { notifications } = await carillon.client.listNotifications({ filter: { status: Status.FAILED } });
    expect(notifications[0]?.reason).to.equal(Reason.INVALID_RECIPIENT);
    expect(second.mails.filter(({ to }) => to.includes('b@example.com'))).to.have.length(0);
  });

  it('the first is used again once it is well', async () => {
    refusal = {};
    expect(await told('c@example.com', Status.SENT)).to.deep.equal([['smtp', 'SENT']]);
    expect(first.mails.filter(({ to }) => to.includes('c@example.com'))).to.have.length(1);
  });
}
