import { Agent } from 'node:http';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { expect } from 'chai';
import {
  Channel,
  type Notification,
  type NotificationEvent,
  Outcome,
  Reason,
  ReceiptKind,
  Status,
  UnknownOutcomePolicy,
} from '../../gen/carillon/v1/notification_pb.js';
import { PreferenceService, SuppressionReason } from '../../gen/carillon/v1/preference_service_pb.js';
import type { Provider } from '../../src/providers/provider.ts';
import type { Ports } from '../../src/service.ts';
import { eventually } from '../support/eventually.ts';
import { withFaults } from '../support/fake-faults.ts';
import type { ClusterRig, PairRig } from '../support/pairs.ts';
import { type NotificationInit, onlyId, TestCarillon } from '../support/start-carillon.ts';
import { mail, quickRetries, RECIPIENT, sms } from './samples.ts';
import { MovableClock, queueBy } from './scaled-time.ts';
import { attemptsOf, reaching, type Sendgrid, type SmsService, startSendgrid, startSms, TAKEN } from './vendors.ts';

const kindsOf = (row: Notification): string[] =>
  row.receipts.map(({ provider, kind }) => `${provider} ${ReceiptKind[kind]}`);
const historyOf = (row: Notification): string[] =>
  row.history.map(({ status, receipt }) => `${Status[status]} ${ReceiptKind[receipt]}`);
const toldOf = ({ status, receipt, provider }: NotificationEvent): string =>
  `${Status[status]} ${ReceiptKind[receipt]} ${provider}`;

const PHONE = '+15551230000';

/** What providers report once they have taken a message. */
export function receipts(rig: PairRig): void {
  let sendgrid: Sendgrid;
  let service: SmsService;
  let carillon: TestCarillon;
  const gates = new Map<string, Promise<void>>();

  before(async () => {
    sendgrid = await startSendgrid(rig.owned);
    service = await startSms(rig.owned);
    const set = [...quickRetries, ...sendgrid.settings, ...service.settings];
    carillon = rig.owned.use(
      await TestCarillon.start({ store: await rig.store(), set, decorate: (ports) => held(ports, gates) }),
    );
  });

  beforeEach(() => {
    sendgrid.react = () => TAKEN;
  });

  const sendMail = async (more: NotificationInit = {}): Promise<string> => {
    const id = await carillon.sendOne(mail(more));
    await carillon.until(id, Status.SENT);
    return id;
  };

  it('a signed one makes it DELIVERED, and watchers see that and what led to it', async () => {
    const sent = await carillon.send(mail());
    const id = onlyId(sent);
    await carillon.until(id, Status.SENT);
    const watch = carillon.eventsAfter(sent.watchToken, ({ status }) => status === Status.DELIVERED);
    expect(await sendgrid.tell(carillon, { event: 'delivered', carillon_id: id, email: RECIPIENT.email })).to.equal(
      200,
    );
    const events = (await watch).filter(({ notificationId }) => notificationId === id);
    expect(events.map(toldOf).slice(-2)).to.deep.equal(['SENT UNSPECIFIED sendgrid', 'DELIVERED DELIVERED sendgrid']);
    const row = await reaching(carillon, id, Status.DELIVERED);
    expect(kindsOf(row)).to.deep.equal(['sendgrid DELIVERED']);
  });

  it('one without a good signature changes nothing', async () => {
    const id = await sendMail();
    const { version } = await carillon.get(id);
    expect(await sendgrid.tellUnsigned(carillon, { event: 'bounce', type: 'bounce', carillon_id: id })).to.equal(401);
    expect((await carillon.get(id)).version).to.equal(version);
    // Whatever the first might still have changed would stand before this.
    await sendgrid.tell(carillon, { event: 'delivered', carillon_id: id });
    expect(kindsOf(await reaching(carillon, id, Status.DELIVERED))).to.deep.equal(['sendgrid DELIVERED']);
    expect((await carillon.get(id)).version).to.equal(version + 1n);
  });

  it('the same one again changes nothing', async () => {
    const id = await sendMail();
    const delivered = { event: 'delivered', carillon_id: id, sg_event_id: `delivered-${id}` };
    for (let n = 0; n < 3; n += 1) expect(await sendgrid.tell(carillon, delivered)).to.equal(200);
    await sendgrid.tell(carillon, { event: 'open', carillon_id: id }, delivered);
    const row = await eventually('the open', async () => {
      const found = await carillon.get(id);
      return kindsOf(found).includes('sendgrid OPENED') && found;
    });
    expect(kindsOf(row)).to.deep.equal(['sendgrid DELIVERED', 'sendgrid OPENED']);
    expect(historyOf(row).slice(-3)).to.deep.equal(['SENT UNSPECIFIED', 'DELIVERED DELIVERED', 'DELIVERED OPENED']);
  });

  it('an open that comes before the delivery is DELIVERED, and the delivery is kept', async () => {
    const id = await sendMail();
    await sendgrid.tell(carillon, { event: 'open', carillon_id: id });
    await reaching(carillon, id, Status.DELIVERED);
    await sendgrid.tell(carillon, { event: 'delivered', carillon_id: id });
    const row = await eventually('the delivery', async () => {
      const found = await carillon.get(id);
      return found.receipts.length === 2 && found;
    });
    expect(row.status).to.equal(Status.DELIVERED);
    expect(kindsOf(row)).to.deep.equal(['sendgrid OPENED', 'sendgrid DELIVERED']);
  });

  it('a bounce that comes before the call has settled waits for it, and then is BOUNCED', async () => {
    const gate = Promise.withResolvers<void>();
    gates.set('early', gate.promise);
    const id = await carillon.sendOne(mail({ type: 'early', recipient: { ...RECIPIENT, email: 'early@example.com' } }));
    await eventually('the call', () => sendgrid.triesOf(id) === 1);
    expect(await sendgrid.tell(carillon, { event: 'bounce', type: 'blocked', carillon_id: id })).to.equal(200);
    expect((await carillon.get(id)).status).to.equal(Status.PROCESSING);
    gate.resolve();
    const row = await reaching(carillon, id, Status.BOUNCED);
    expect(historyOf(row).slice(-2)).to.deep.equal(['SENT UNSPECIFIED', 'BOUNCED BOUNCED']);
    expect(row.targets[0]?.outcome).to.equal(Outcome.SENT);
  });

  it('nobody sees a hard bounce before its address is on the list', async () => {
    const gate = Promise.withResolvers<undefined>();
    let asked = false;
    const addingLate = (method: string): Promise<undefined> | undefined => {
      if (method !== 'addSuppressions') return undefined;
      asked = true;
      return gate.promise;
    };
    const decorate = (ports: Ports): Ports => ({ ...ports, storage: withFaults(ports.storage, addingLate) });
    const set = [...quickRetries, ...sendgrid.settings];
    await using late = await TestCarillon.start({ store: await rig.store(), set, decorate });
    try {
      const id = await late.sendOne(mail());
      await late.until(id, Status.SENT);
      await sendgrid.tell(late, { event: 'bounce', type: 'bounce', carillon_id: id });
      await eventually('the write to the list', () => asked);
      expect((await late.get(id)).status).to.equal(Status.SENT);
      gate.resolve(undefined);
      await reaching(late, id, Status.BOUNCED);
    } finally {
      gate.resolve(undefined);
    }
  });

  it('after a hard bounce the next send is CANCELLED, SUPPRESSED at once, until the address is taken off the list', async () => {
    const address = 'gone@example.com';
    const recipient = { ...RECIPIENT, email: address };
    const id = await sendMail({ recipient });
    const bounce = { event: 'bounce', type: 'bounce', status: '5.1.1', carillon_id: id, email: address };
    await sendgrid.tell(carillon, bounce);
    const bounced = await reaching(carillon, id, Status.BOUNCED);
    expect(bounced.receipts[0]).to.include({ kind: ReceiptKind.BOUNCED, hard: true, code: '5.1.1' });
    const { notifications } = await carillon.send(mail({ recipient: { ...recipient, email: 'Gone@Example.com' } }));
    expect(notifications[0]).to.include({ status: Status.CANCELLED, reason: Reason.SUPPRESSED });
    expect(sendgrid.triesOf(notifications[0]?.id ?? '')).to.equal(0);

    const agent = new Agent({ keepAlive: true });
    try {
      const options = { baseUrl: carillon.httpUrl, httpVersion: '1.1', nodeOptions: { agent } } as const;
      const preferences = createClient(PreferenceService, createConnectTransport(options));
      const listed = await preferences.listSuppressions({ channel: Channel.EMAIL, address });
      expect(listed.suppressions.map(({ reason, source }) => [reason, source])).to.deep.equal([
        [SuppressionReason.HARD_BOUNCE, 'sendgrid'],
      ]);
      await preferences.removeSuppression({ address: { channel: Channel.EMAIL, address } });
    } finally {
      agent.destroy();
    }
    await sendMail({ recipient });
  });

  it('after a complaint marketing is CANCELLED, UNSUBSCRIBED, and news of an order still go', async () => {
    const recipient = { ...RECIPIENT, email: 'annoyed@example.com' };
    const id = await sendMail({ recipient, category: 'marketing' });
    await sendgrid.tell(carillon, { event: 'spamreport', carillon_id: id, email: recipient.email });
    await reaching(carillon, id, Status.DELIVERED);
    const { notifications } = await carillon.send(mail({ recipient, category: 'marketing' }));
    expect(notifications[0]).to.include({ status: Status.CANCELLED, reason: Reason.UNSUBSCRIBED });
    await sendMail({ recipient, category: 'order_updates' });
  });

  it('many at the same time are all applied, each once', async () => {
    const id = await sendMail();
    const { version } = await carillon.get(id);
    const opens = Array.from({ length: 30 }, (_, n) => ({ event: 'open', carillon_id: id, sg_event_id: `${id}-${n}` }));
    const answers = await Promise.all(opens.map((open) => sendgrid.tell(carillon, open, opens[0] ?? open)));
    expect(new Set(answers)).to.deep.equal(new Set([200]));
    const row = await eventually('all of them', async () => {
      const found = await carillon.get(id);
      return found.receipts.length >= opens.length && found;
    });
    expect(kindsOf(row)).to.deep.equal(opens.map(() => 'sendgrid OPENED'));
    expect(row.version).to.equal(version + BigInt(opens.length));
  });

  it('a callback about many messages moves every one of them', async () => {
    const requests = Array.from({ length: 100 }, () => ({ notification: mail() }));
    const { results } = await carillon.client.batchSendNotifications({ requests });
    const ids = results.map(({ result }) => (result.case === 'accepted' ? onlyId(result.value) : ''));
    for (const id of ids) await carillon.until(id, Status.SENT);
    const events = ids.map((id) => ({ event: 'delivered', carillon_id: id }));
    expect(await sendgrid.tell(carillon, ...events)).to.equal(200);
    for (const id of ids) await reaching(carillon, id, Status.DELIVERED);
  });

  it('a bounce of a copy suppresses the copy’s address and leaves the notification as it is', async () => {
    const copy = 'copy@example.com';
    const id = await sendMail({ email: { cc: [{ email: copy }] } });
    const about = { carillon_id: id, email: copy };
    await sendgrid.tell(carillon, { event: 'bounce', type: 'bounce', ...about });
    await eventually('it is on the list', async () => {
      const { notifications } = await carillon.send(mail({ recipient: { ...RECIPIENT, email: copy } }));
      return notifications[0]?.reason === Reason.SUPPRESSED;
    });
    const { status, receipts } = await carillon.get(id);
    expect({ status, receipts }).to.deep.equal({ status: Status.SENT, receipts: [] });
  });

  it('events about other messages, and of none, are taken and change nothing', async () => {
    const unknown = { event: 'delivered', carillon_id: '019a0000-0000-7000-8000-000000000000' };
    expect(await sendgrid.tell(carillon, unknown, { event: 'delivered', carillon_id: 'not-an-id' })).to.equal(200);
    expect(await sendgrid.tell(carillon)).to.equal(200);
    await sendMail();
  });

  it('a text message is DELIVERED by the report of a service of one’s own', async () => {
    const id = await carillon.sendOne(sms());
    await carillon.until(id, Status.SENT);
    expect(service.taken.filter((one) => one === id)).to.have.length(1);
    const event = { id: `delivered-${id}`, kind: 'delivered', notification_id: id, to: PHONE };
    expect(await service.tell(carillon, [event], `hook-${id}`)).to.equal(200);
    const row = await reaching(carillon, id, Status.DELIVERED);
    expect(kindsOf(row)).to.deep.equal(['custom DELIVERED']);
    // What was signed once does not carry other news.
    const forged = { id: `bounced-${id}`, kind: 'bounced', notification_id: id, to: PHONE };
    expect(await service.tell(carillon, [forged], `hook-${id}`)).to.equal(406);
    await service.tell(carillon, [{ id: `clicked-${id}`, kind: 'clicked', notification_id: id, to: PHONE }]);
    const after = await eventually('the click', async () => {
      const found = await carillon.get(id);
      return found.receipts.length > 1 && found;
    });
    expect(kindsOf(after)).to.deep.equal(['custom DELIVERED', 'custom CLICKED']);
  });

  it('after a STOP nothing more goes to the number, whatever the category', async () => {
    const recipient = { phone: '+15551239999' };
    const id = await carillon.sendOne(sms({ recipient }));
    await carillon.until(id, Status.SENT);
    await service.tell(carillon, [
      { id: `stop-${id}`, kind: 'unsubscribed', notification_id: id, to: recipient.phone },
    ]);
    await reaching(carillon, id, Status.DELIVERED);
    const { notifications } = await carillon.send(sms({ recipient, category: 'order_updates' }));
    expect(notifications[0]).to.include({ status: Status.CANCELLED, reason: Reason.SUPPRESSED });
  });

  it('where the answer to the call was lost, HOLD included, the report still says DELIVERED', async () => {
    sendgrid.react = () => 'reset';
    const id = await carillon.sendOne(mail({ unknownOutcome: UnknownOutcomePolicy.HOLD }));
    expect((await carillon.until(id, Status.FAILED)).reason).to.equal(Reason.OUTCOME_UNKNOWN);
    await sendgrid.tell(carillon, { event: 'delivered', carillon_id: id });
    const row = await reaching(carillon, id, Status.DELIVERED);
    expect(row.targets[0]?.outcome).to.equal(Outcome.SENT);
    expect(sendgrid.triesOf(id)).to.equal(1);
  });
}

/** An answer that was lost, and a report that comes before the repeat. */
export function lostAnswers(rig: PairRig): void {
  it('a report that the provider has the message makes it SENT without a second call', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    const clock = new MovableClock();
    const slow = ['retry.base_seconds=60', 'retry.factor=1', 'notifications.circuit.failures=100'];
    const options = { set: [...sendgrid.settings, ...slow], clock, decorate: queueBy(clock) };
    await using carillon = await TestCarillon.start({ store: await rig.store(), ...options });
    sendgrid.react = () => 'reset';
    const told = new Map<string, Status>();
    for (const [event, status] of [
      ['processed', Status.SENT],
      ['delivered', Status.DELIVERED],
      ['bounce', Status.BOUNCED],
    ] as const) {
      const id = await carillon.sendOne(mail());
      await carillon.untilPending(id, Reason.RETRYING);
      expect(await sendgrid.tell(carillon, { event, type: 'blocked', carillon_id: id })).to.equal(200);
      const row = await reaching(carillon, id, status);
      expect(attemptsOf(row)).to.deep.equal(['1 sendgrid UNKNOWN']);
      expect(row.targets[0]).to.include({ outcome: Outcome.SENT, provider: 'sendgrid' });
      told.set(id, status);
    }
    // One that is repeated as often as it takes: the repeats of those above would be over by then.
    sendgrid.react = (_id, turn) => (turn < 4 ? 'reset' : TAKEN);
    const last = await carillon.sendOne(mail());
    for (let turn = 1; turn < 4; turn += 1) {
      await eventually(`try ${turn} has failed`, async () => {
        const { reason, attempts } = await carillon.get(last);
        return reason === Reason.RETRYING && attempts.length === turn;
      });
      clock.moveOn(60_000);
    }
    await carillon.until(last, Status.SENT);
    for (const [id, status] of told) {
      expect(sendgrid.triesOf(id)).to.equal(1);
      expect((await carillon.get(id)).status).to.equal(status);
    }
  });
}

/** Holds the answers of the providers back for notifications of these types. */
function held(ports: Ports, gates: ReadonlyMap<string, Promise<void>>): Ports {
  const holding = (provider: Provider): Provider => ({
    ...provider,
    async send(message, call) {
      const result = await provider.send(message, call);
      await gates.get(message.type);
      return result;
    },
  });
  return {
    ...ports,
    routes: (channel) => ports.routes(channel).map((route) => ({ ...route, provider: holding(route.provider) })),
  };
}

export function receiptsInACluster(rig: ClusterRig): void {
  it('a report that comes while the store is away is answered 503, and taken when it comes again', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    const store = await rig.store();
    const set = [...quickRetries, ...sendgrid.settings];
    await using carillon = await TestCarillon.start({ store, set, impatient: true });
    const id = await carillon.sendOne(mail());
    await carillon.until(id, Status.SENT);
    const delivered = { event: 'delivered', carillon_id: id, sg_event_id: `delivered-${id}` };
    store.mongo.mode('reset');
    expect(await sendgrid.tell(carillon, delivered)).to.equal(503);
    store.mongo.mode('pass');
    await eventually('taken', async () => (await sendgrid.tell(carillon, delivered)) === 200);
    expect(kindsOf(await reaching(carillon, id, Status.DELIVERED))).to.deep.equal(['sendgrid DELIVERED']);
  });

  it('the process that is called back need not be the one that sends', async () => {
    const sendgrid = await startSendgrid(rig.owned);
    const store = await rig.store();
    const gate = Promise.withResolvers<void>();
    const gates = new Map([['early', gate.promise]]);
    const set = [...quickRetries, ...sendgrid.settings];
    await using api = await TestCarillon.start({ store, set: [...set, 'role=api'] });
    const decorate = (ports: Ports): Ports => held(ports, gates);
    await using worker = await TestCarillon.start({ store, set: [...set, 'role=worker,scheduler'], decorate });
    const [early, later] = [await api.sendOne(mail({ type: 'early' })), await api.sendOne(mail())];
    await eventually('the call', () => sendgrid.triesOf(early) === 1);
    expect(await sendgrid.tell(worker, { event: 'delivered', carillon_id: early })).to.equal(404);
    expect(await sendgrid.tell(api, { event: 'delivered', carillon_id: early })).to.equal(200);
    gate.resolve();
    await reaching(api, early, Status.DELIVERED);
    await api.until(later, Status.SENT);
    await sendgrid.tell(api, { event: 'delivered', carillon_id: later });
    await reaching(api, later, Status.DELIVERED);
  });
}
