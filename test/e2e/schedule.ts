import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Priority, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult } from '../../gen/carillon/v1/notification_service_pb.js';
import { eventually } from '../support/eventually.ts';
import type { PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { inApp, mail, quickRetries, sms } from './samples.ts';
import { MovableClock } from './scaled-time.ts';
import {
  BUSY,
  DOWN,
  LOST,
  Playbook,
  type ScriptedProvider,
  scriptedProvider,
  SENT,
  through,
} from './scripted-provider.ts';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

export function times(rig: PairRig): void {
  let carillon: TestCarillon;
  let provider: ScriptedProvider;
  const clock = new MovableClock();
  const in_ = (ms: number) => timestampFromMs(clock.now() + ms);

  before(async () => {
    provider = scriptedProvider('sms', 'scripted', (_message, turn) => (turn === 1 ? BUSY : SENT));
    const set = ['retry.base_seconds=60', 'retry.urgent_base_seconds=60'];
    const decorate = through(provider);
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set, clock, decorate }));
  });

  it('what is scheduled is held, and then sent, not earlier', async () => {
    const at = clock.now() + 60 * SECOND;
    const { watchToken, notifications } = await carillon.send(inApp({ scheduledFor: timestampFromMs(at) }));
    expect(notifications[0]).to.include({ status: Status.PENDING, reason: Reason.SCHEDULED });
    // The last second passes by itself: nothing may be early by a little.
    clock.moveOn(59 * SECOND);
    const events = await carillon.eventsAfter(watchToken, ({ status }) => status === Status.SENT);
    expect(events.map(({ status }) => Status[status])).to.deep.equal(['PENDING', 'QUEUED', 'PROCESSING', 'SENT']);
    const sent = await carillon.get(notifications[0]?.id ?? '');
    const [attempt] = sent.attempts;
    expect(attempt?.startedAt ? timestampMs(attempt.startedAt) : 0).to.be.at.least(at);
  });

  it('a schedule in the past sends at once', async () => {
    const { notifications } = await carillon.send(inApp({ scheduledFor: in_(-HOUR) }));
    expect(notifications[0]?.status).to.equal(Status.QUEUED);
    await carillon.until(notifications[0]?.id ?? '', Status.SENT);
  });

  it('what has expired already is accepted as CANCELLED, EXPIRED and never sent', async () => {
    const { notifications } = await carillon.send(inApp({ expiresAt: in_(-SECOND) }));
    expect(notifications[0]).to.include({ status: Status.CANCELLED, reason: Reason.EXPIRED });
  });

  it('what would expire before its next attempt is cancelled instead of tried too late', async () => {
    const expiresAt = in_(20 * SECOND);
    const id = await carillon.sendOne(sms({ expiresAt }));
    const cancelled = await carillon.until(id, Status.CANCELLED);
    expect(cancelled.reason).to.equal(Reason.EXPIRED);
    expect(cancelled.attempts).to.have.length(1);
    expect(cancelled.updatedAt ? timestampMs(cancelled.updatedAt) : Infinity, 'at once').to.be.below(
      timestampMs(expiresAt),
    );
    expect(provider.calls.filter(({ message }) => message.notificationId === id)).to.have.length(1);
  });
}

export function cancelling(rig: PairRig): void {
  const playbook = new Playbook('sms');
  const clock = new MovableClock();
  let carillon: TestCarillon;

  before(async () => {
    const options = { set: quickRetries, clock, decorate: through(...playbook.providers) };
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), ...options }));
  });

  it('a pending one is CANCELLED and never sent, and a repeat says the same', async () => {
    const at = clock.now() + 60 * SECOND;
    const id = await carillon.sendOne(sms({ type: 'pending', scheduledFor: timestampFromMs(at) }));
    for (const _ of [1, 2]) {
      const { result, status } = await carillon.client.cancelNotification({ id });
      expect({ result, status }).to.deep.equal({ result: CancelResult.CANCELLED, status: Status.CANCELLED });
    }
    const later = await carillon.sendOne(sms({ type: 'later', scheduledFor: timestampFromMs(at + 100) }));
    clock.moveOn(60 * SECOND);
    // One that was due later has been sent: the cancelled one had its chance.
    await carillon.until(later, Status.SENT);
    expect(playbook.calls('pending')).to.have.length(0);
    expect((await carillon.get(id)).reason).to.equal(Reason.CANCELLED_BY_CALLER);
  });

  for (const [outcome, answer, expected] of [
    ['fails', BUSY, Status.CANCELLED],
    ['is down', DOWN, Status.CANCELLED],
    ['does not answer', LOST, Status.CANCELLED],
    ['takes it', SENT, Status.SENT],
  ] as const) {
    it(`one that is being sent is REQUESTED, and ends ${Status[expected]} when the provider ${outcome}`, async () => {
      const type = `when-it-${outcome.replaceAll(' ', '-')}`;
      const call = playbook.hold(type);
      const id = await carillon.sendOne(sms({ type }));
      await eventually('the call', () => playbook.calls(type).length > 0);
      const { result, status } = await carillon.client.cancelNotification({ id });
      expect({ result, status }).to.deep.equal({ result: CancelResult.REQUESTED, status: Status.PROCESSING });
      expect((await carillon.get(id)).cancelRequested).to.equal(true);
      call.release(answer);
      const ended = await carillon.until(id, expected);
      expect(ended.reason).to.equal(expected === Status.SENT ? Reason.UNSPECIFIED : Reason.CANCELLED_BY_CALLER);
      expect(playbook.calls(type)).to.have.length(1);
      expect(playbook.calls(type, 'second'), 'no further provider is called').to.have.length(0);
    });
  }

  it('one that was sent is TOO_LATE', async () => {
    const id = await carillon.sendOne(sms());
    await carillon.until(id, Status.SENT);
    const { result, status } = await carillon.client.cancelNotification({ id });
    expect({ result, status }).to.deep.equal({ result: CancelResult.TOO_LATE, status: Status.SENT });
  });

  it('one that nobody has is NOT_FOUND', async () => {
    const failure = await failureOf(carillon.client.cancelNotification({ id: '019a0000-0000-7000-8000-000000000000' }));
    expect(failure).to.include({ code: Code[Code.NotFound], reason: 'NOTIFICATION_NOT_FOUND' });
  });
}

export function priorities(rig: PairRig): void {
  it('with a backlog on one slot the urgent go first, and the low are not starved', async () => {
    const order = await orderOfBacklog(rig);
    const rank = (priority: string): number => {
      const places = order.flatMap((one, at) => (one === priority ? [at] : []));
      return places.reduce((sum, at) => sum + at, 0) / places.length;
    };
    expect(rank('urgent')).to.be.below(rank('high'));
    expect(rank('high')).to.be.below(rank('normal'));
    expect(rank('normal')).to.be.below(rank('low'));
    // Lanes are served 8 : 4 : 2 : 1 while all have work, so the first of the low ones comes within two rounds.
    expect(order.indexOf('low')).to.be.below(30);
  });
}

/** Queues twelve of each priority behind one call that is held, low ones first, and answers the order of the calls. */
async function orderOfBacklog(rig: PairRig): Promise<string[]> {
  const held = Promise.withResolvers<void>();
  const order: string[] = [];
  const provider = scriptedProvider('email', 'scripted', async ({ priority }, turn) => {
    if (turn === 1) await held.promise;
    else order.push(priority);
    return SENT;
  });
  const set = ['worker.concurrency.email=1'];
  await using carillon = await TestCarillon.start({ store: await rig.store(), set, decorate: through(provider) });
  await carillon.send(mail());
  await eventually('the held call', () => provider.calls.length === 1);
  const each = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.URGENT];
  const requests = each.flatMap((priority) => Array.from({ length: 12 }, () => ({ notification: mail({ priority }) })));
  await carillon.client.batchSendNotifications({ requests });
  held.resolve();
  await eventually('the backlog', () => order.length === requests.length);
  return order;
}
