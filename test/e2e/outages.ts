import { randomUUID } from 'node:crypto';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Channel, type NotificationEvent, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { Clock } from '../../src/domain/clock.ts';
import type { Ports } from '../../src/service.ts';
import { eventually } from '../support/eventually.ts';
import type { ClusterRig, ClusterStore, PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { onlyId, TestCarillon } from '../support/start-carillon.ts';
import { inApp, mail, quickRetries, RECIPIENT, sms } from './samples.ts';
import { delegate, scaledClock, scaledQueue } from './scaled-time.ts';
import { Playbook, SENT, through } from './scripted-provider.ts';

/** A minute, which a lost hint takes to be missed, passes in three seconds. */
const FACTOR = 20;
/** A test with more than one recovery. */
const RECOVERIES_MS = 120_000;

export function storeAway(rig: ClusterRig): void {
  const playbook = new Playbook('sms');
  let store: ClusterStore;
  let carillon: TestCarillon;

  before(async () => {
    store = await rig.store();
    const decorate = through(...playbook.providers);
    carillon = rig.owned.use(await TestCarillon.start({ store, set: quickRetries, decorate, impatient: true }));
  });

  afterEach(() => store.mongo.mode('pass'));

  for (const mode of ['reset', 'black-hole'] as const) {
    it(`a call is UNAVAILABLE within seconds (${mode}), and its repeat is accepted once the store is back`, async () => {
      const type = `away-${mode}`;
      const key = randomUUID();
      const channels = [Channel.SMS, Channel.IN_APP];
      const recipient = { id: type, phone: '+15551230000' };
      const notification = sms({ type, channels, recipient, content: { textBody: 'hello' } });
      const send = () => carillon.send(notification, key);
      store.mongo.mode(mode);
      const before = Date.now();
      const failure = await failureOf(send());
      expect(failure).to.include({ code: Code[Code.Unavailable], reason: 'STORE_UNAVAILABLE' });
      expect(Date.now() - before).to.be.below(8_000);

      store.mongo.mode('pass');
      const accepted = await eventually('accepting', () => send().catch(() => undefined));
      for (const { id } of accepted.notifications) await carillon.until(id, Status.SENT);
      expect(playbook.calls(type), 'sent once').to.have.length(1);
      const { notifications } = await carillon.client.listNotifications({ filter: { recipientId: type } });
      expect(notifications.map(({ id }) => id)).to.have.members(accepted.notifications.map(({ id }) => id));
    });
  }

  it('what a provider took while the store was away is written when it is back, and not sent again', async () => {
    const call = playbook.hold('settled-late');
    const id = await carillon.sendOne(sms({ type: 'settled-late' }));
    await eventually('the call', () => playbook.calls('settled-late').length > 0);
    store.mongo.mode('reset');
    call.release(SENT);
    await eventually('the failed write', () => carillon.lines.some(({ fields }) => fields['step'] === 'settle'));
    store.mongo.mode('pass');
    const sent = await eventually('SENT', async () => {
      const row = await carillon.get(id).catch(() => undefined);
      return row?.status === Status.SENT && row;
    });
    expect(sent.attempts).to.have.length(1);
    expect(playbook.calls('settled-late')).to.have.length(1);
  });
}

export function queueAway(rig: ClusterRig): void {
  it('accepting goes on, and everything is sent once it is back', async function () {
    this.timeout(RECOVERIES_MS);
    const store = await rig.store();
    await using carillon = await TestCarillon.start({ store, ...scaled() });
    await carillon.until(await carillon.sendOne(inApp()), Status.SENT);
    await store.nats.kill('SIGKILL');
    const { watchToken, notifications } = await carillon.send(inApp());
    const ids = notifications.map(({ id }) => id);
    for (let n = 0; n < 4; n += 1) ids.push(await carillon.sendOne(inApp()));
    expect((await carillon.get(ids[0] ?? '')).status).to.equal(Status.QUEUED);

    await store.nats.restart();
    for (const id of ids) expect((await carillon.until(id, Status.SENT)).attempts).to.have.length(1);
    // Every step reaches the feed, those from before it was back too.
    const ofFirst = ({ notificationId, status }: NotificationEvent) =>
      notificationId === ids[0] && status === Status.SENT;
    const events = await carillon.eventsAfter(watchToken, ofFirst);
    const versions = new Set(events.filter((e) => e.notificationId === ids[0]).map(({ version }) => Number(version)));
    expect([...versions]).to.deep.equal([1, 2, 3, 4]);
  });

  it('beyond the outbox a send is refused before anything is written, and accepted again when it is back', async function () {
    this.timeout(RECOVERIES_MS);
    const store = await rig.store();
    await using carillon = await TestCarillon.start({ store, set: ['limits.max_outbox=3'], ...scaled() });
    await store.nats.kill('SIGKILL');
    const recipient = { ...RECIPIENT, id: 'outbox' };
    const accepted: string[] = [];
    const failure = await eventually('OUTBOX_FULL', async () => {
      const told = await carillon.send(inApp({ recipient })).then(
        (response) => void accepted.push(onlyId(response)),
        (thrown: unknown) => failureOf(Promise.reject(thrown as Error)),
      );
      return told ?? undefined;
    });
    expect(failure).to.include({ code: Code[Code.ResourceExhausted], reason: 'OUTBOX_FULL' });
    expect(failure.metadata).to.deep.equal({ lane: 'in_app.normal' });
    const listed = await carillon.client.listNotifications({ filter: { recipientId: 'outbox' }, pageSize: 100 });
    expect(listed.notifications.map(({ id }) => id)).to.have.members(accepted);
    await carillon.until(await carillon.sendOne(mail()), Status.QUEUED);

    await store.nats.restart();
    for (const id of accepted) await carillon.until(id, Status.SENT);
    const again = await eventually('accepting', () => carillon.send(inApp({ recipient })).catch(() => undefined));
    await carillon.until(onlyId(again), Status.SENT);
  });
}

export function failingQueue(rig: PairRig): void {
  it('a hint that was lost is made good after a minute', async () => {
    let loses = true;
    const { clock, decorate } = scaled();
    const losing = (ports: Ports): Ports => {
      const { queue } = ports;
      const publish: typeof queue.publish = async (hints) => {
        if (!loses) return queue.publish(hints);
        loses = false;
        return hints.map(() => 'stored' as const);
      };
      return decorate({ ...ports, queue: delegate(queue, { publish }) });
    };
    await using carillon = await TestCarillon.start({ store: await rig.store(), clock, decorate: losing });
    const id = await carillon.sendOne(inApp());
    const sent = await carillon.until(id, Status.SENT, 15_000);
    expect(sent.history.map(({ status }) => Status[status])).to.deep.equal(['QUEUED', 'QUEUED', 'PROCESSING', 'SENT']);
  });

  it('a full lane takes nothing more than its outbox, blocks no other, and everything accepted is sent', async function () {
    this.timeout(RECOVERIES_MS);
    const playbook = new Playbook('sms');
    const { clock, decorate } = scaled();
    const set = ['queue.max_jobs_per_lane=100', 'limits.max_outbox=110', 'worker.concurrency.sms=5'];
    await using carillon = await TestCarillon.start({
      store: await rig.store(),
      set,
      clock,
      decorate: (ports) => through(...playbook.providers)(decorate(ports)),
    });
    const gate = Promise.withResolvers<void>();
    playbook.on('stuck', async () => {
      await gate.promise;
      return SENT;
    });
    const accepted: string[] = [];
    await eventually('OUTBOX_FULL', async () => {
      const requests = Array.from({ length: 20 }, () => ({ notification: sms({ type: 'stuck' }) }));
      const { results } = await carillon.client.batchSendNotifications({ requests });
      const reasons = results.map(({ result }) => {
        if (result.case === 'accepted') accepted.push(onlyId(result.value));
        return result.case === 'error' ? result.value.reason : '';
      });
      return reasons.includes('OUTBOX_FULL');
    });
    await carillon.until(await carillon.sendOne(inApp()), Status.SENT);
    gate.resolve();
    for (const id of accepted) await carillon.until(id, Status.SENT);
    expect(playbook.calls('stuck')).to.have.length(accepted.length);
  });
}

function scaled(): { clock: Clock; decorate: (ports: Ports) => Ports } {
  return { clock: scaledClock(FACTOR), decorate: scaledQueue(FACTOR) };
}
