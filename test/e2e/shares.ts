import { expect } from 'chai';
import { Choice, type Notification, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { onlyId, TestCarillon } from '../support/start-carillon.ts';
import { type StartedSmtp, startSmtp } from '../support/start-smtp.ts';
import { mail, quickRetries, realMail, RECIPIENT } from './samples.ts';
import { attemptsOf, type Sendgrid, startSendgrid } from './vendors.ts';

const COUNT = 40;

/** Two providers of one channel: who gets how much. */
export function shares(rig: PairRig): void {
  let sendgrid: Sendgrid;
  let smtp: StartedSmtp;
  /** Addresses that the relay has put off once. */
  const greylisted = new Set<string>();

  before(async () => {
    sendgrid = await startSendgrid(rig.owned);
    const onRcptTo = (email: string) => {
      if (greylisted.has(email) || !email.startsWith('grey')) return undefined;
      greylisted.add(email);
      return { code: 450, text: '4.2.0 greylisted' };
    };
    smtp = rig.owned.use(await startSmtp({ onRcptTo }));
  });

  async function start(...more: readonly string[]): Promise<TestCarillon> {
    const both = 'notifications.email.providers=sendgrid,smtp';
    const set = [...quickRetries, ...realMail(smtp), ...sendgrid.settings, both, ...more];
    return TestCarillon.start({ store: await rig.store(), set });
  }

  it('by weight both get some, and a repeat stays with the provider of the first try', async () => {
    const half = ['notifications.email.sendgrid.weight=50', 'notifications.email.smtp.weight=50'];
    await using carillon = await start(...half, 'notifications.circuit.failures=1000');
    // SendGrid breaks off and the relay puts off, each the first time.
    sendgrid.react = (_id, turn) => (turn === 1 ? 'reset' : { status: 202 });
    const requests = Array.from({ length: COUNT }, (_, n) => ({
      notification: mail({ recipient: { ...RECIPIENT, email: `grey${n}@example.com` } }),
    }));
    const { results } = await carillon.client.batchSendNotifications({ requests });
    const rows: Notification[] = [];
    for (const { result } of results) {
      if (result.case !== 'accepted') throw new Error('one was refused');
      rows.push(await carillon.until(onlyId(result.value), Status.SENT));
    }
    const [bySendgrid, bySmtp] = ['sendgrid', 'smtp'].map((name) =>
      rows.filter(({ targets }) => targets[0]?.provider === name),
    );
    expect(bySendgrid).not.to.have.length(0);
    expect(bySmtp).not.to.have.length(0);
    for (const row of bySendgrid ?? []) {
      expect(attemptsOf(row)).to.deep.equal(['1 sendgrid UNKNOWN', '2 sendgrid SENT']);
      expect(row.attempts.map(({ choice }) => choice)).to.deep.equal([Choice.WEIGHT, Choice.REPEAT]);
    }
    for (const row of bySmtp ?? []) {
      expect(attemptsOf(row)).to.deep.equal(['1 smtp TEMPORARY_FAILURE', '2 smtp SENT']);
      expect(row.attempts.map(({ choice }) => choice)).to.deep.equal([Choice.WEIGHT, Choice.WEIGHT]);
    }
  });

  for (const [key, reason] of [
    ['max_per_day', 'QUOTA_USED'],
    ['max_per_minute', 'RATE_LIMITED'],
  ] as const) {
    it(`beyond ${key} the next provider takes over, and the attempt says why`, async () => {
      await using carillon = await start(`notifications.email.sendgrid.${key}=1`);
      sendgrid.react = () => ({ status: 202 });
      const send = async () => attemptsOf(await carillon.until(await carillon.sendOne(mail()), Status.SENT));
      expect(await send()).to.deep.equal(['1 sendgrid SENT']);
      expect(await send()).to.deep.equal([`1 smtp SENT, not sendgrid: ${reason}`]);
      expect(await send()).to.deep.equal([`1 smtp SENT, not sendgrid: ${reason}`]);
    });
  }
}
