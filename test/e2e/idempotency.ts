import { randomUUID } from 'node:crypto';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Channel, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { SendNotificationResponse, SendResult } from '../../gen/carillon/v1/notification_service_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { inApp, sms } from './samples.ts';
import { type ScriptedProvider, scriptedProvider, SENT, through } from './scripted-provider.ts';

export function sendingManyTimes(rig: PairRig): void {
  let carillon: TestCarillon;
  let provider: ScriptedProvider;

  before(async () => {
    provider = scriptedProvider('sms', 'scripted', () => SENT);
    const store = await rig.store();
    carillon = rig.owned.use(await TestCarillon.start({ store, decorate: through(provider) }));
  });

  const idsOf = (response: SendNotificationResponse): string[] => response.notifications.map(({ id }) => id);
  const callsFor = (id: string | undefined) => provider.calls.filter(({ message }) => message.notificationId === id);
  const accepted = (result: SendResult | undefined): SendNotificationResponse => {
    if (result?.result.case === 'accepted') return result.result.value;
    throw new Error(`expected an accepted item, not ${result?.result.value?.reason ?? 'nothing'}`);
  };
  const refused = (result: SendResult | undefined) => {
    if (result?.result.case !== 'error') throw new Error(`expected a refused item, not ${result?.result.case}`);
    const { code, reason, fieldViolations } = result.result.value;
    return { code, reason, fields: fieldViolations.map(({ field }) => field) };
  };

  it('a repeat with the same key answers the same ids and sends once', async () => {
    const key = randomUUID();
    const first = await carillon.send(sms(), key);
    const [id] = idsOf(first);
    await carillon.until(id ?? '', Status.SENT);
    const again = await carillon.send(sms(), key);
    expect(idsOf(again)).to.deep.equal([id]);
    expect(again.groupId).to.equal(first.groupId);
    expect(again.watchToken).to.equal(first.watchToken);
    expect(again.notifications[0]?.status, 'as it stands now').to.equal(Status.SENT);
    const { notifications } = await carillon.client.listNotifications({ filter: { groupId: first.groupId } });
    expect(notifications).to.have.length(1);
    expect(callsFor(id)).to.have.length(1);
  });

  it('the order of fields in the data does not make it another request', async () => {
    const key = randomUUID();
    const first = await carillon.send(sms({ data: { a: 1, b: { c: 2, d: 3 } } }), key);
    const again = await carillon.send(sms({ data: { b: { d: 3, c: 2 }, a: 1 } }), key);
    expect(idsOf(again)).to.deep.equal(idsOf(first));
  });

  it('the same key with another request is refused as ALREADY_EXISTS, and nothing is sent', async () => {
    const key = randomUUID();
    await carillon.send(sms(), key);
    const before = provider.calls.length;
    const other = sms({ recipient: { phone: '+15559990000' } });
    const failure = await failureOf(carillon.send(other, key));
    expect(failure).to.include({ code: Code[Code.AlreadyExists], reason: 'IDEMPOTENCY_KEY_REUSED' });
    await carillon.until(idsOf(await carillon.send(sms()))[0] ?? '', Status.SENT);
    expect(provider.calls.slice(before).map(({ message }) => message.to)).not.to.include('+15559990000');
  });

  it('20 repeats at once send once', async () => {
    const key = randomUUID();
    const answers = await Promise.all(Array.from({ length: 20 }, () => carillon.send(sms(), key)));
    const ids = new Set(answers.flatMap(idsOf));
    expect(ids.size).to.equal(1);
    const [id = ''] = ids;
    await carillon.until(id, Status.SENT);
    await carillon.send(sms(), key);
    expect(callsFor(id)).to.have.length(1);
  });

  it('without a key every call sends', async () => {
    const first = await carillon.send(sms());
    const second = await carillon.send(sms());
    expect(idsOf(second)).not.to.deep.equal(idsOf(first));
  });

  it('a batch accepts the good items and refuses each bad one alone, in order', async () => {
    const key = randomUUID();
    const { results } = await carillon.client.batchSendNotifications({
      requests: [
        { notification: sms() },
        { notification: sms({ recipient: {} }) },
        { notification: sms({ type: 'NOT A TYPE' }) },
        {},
        { notification: { type: 'no_such_template', channels: [Channel.SMS], recipient: { phone: '+15551230000' } } },
        { notification: inApp() },
        { notification: sms(), idempotencyKey: key },
        { notification: sms(), idempotencyKey: key },
        { notification: inApp(), idempotencyKey: key },
      ],
    });
    expect(results).to.have.length(9);
    const missing = { code: 3, reason: 'RECIPIENT_ADDRESS_MISSING', fields: ['notification.recipient.phone'] };
    expect(refused(results[1])).to.deep.equal(missing);
    expect(refused(results[2])).to.deep.equal({ code: 3, reason: 'INVALID_FIELD', fields: ['notification.type'] });
    expect(refused(results[3])).to.deep.equal({ code: 3, reason: 'INVALID_FIELD', fields: ['notification'] });
    expect(refused(results[4])).to.deep.include({ code: 5, reason: 'TEMPLATE_NOT_FOUND' });
    expect(refused(results[8])).to.deep.include({ code: 6, reason: 'IDEMPOTENCY_KEY_REUSED' });
    expect(idsOf(accepted(results[7]))).to.deep.equal(idsOf(accepted(results[6])));
    for (const at of [0, 5, 6]) await carillon.until(idsOf(accepted(results[at]))[0] ?? '', Status.SENT);
    expect(callsFor(idsOf(accepted(results[6]))[0])).to.have.length(1);
  });

  it('a batch of 1,000 is accepted and a larger one refused', async () => {
    // Not yet due, so that the tests after it do not wait behind a thousand deliveries.
    const notification = inApp({ scheduledFor: timestampFromMs(Date.now() + 3_600_000) });
    const requests = Array.from({ length: 1_001 }, () => ({ notification }));
    const failure = await failureOf(carillon.client.batchSendNotifications({ requests }));
    expect(failure).to.deep.include({ code: Code[Code.InvalidArgument], fields: ['requests'] });
    const { results } = await carillon.client.batchSendNotifications({ requests: requests.slice(1) });
    expect(new Set(results.flatMap((result) => idsOf(accepted(result)))).size).to.equal(1_000);
  });

  it('each of many sends on one stream is answered by its number, bad ones alone are refused', async () => {
    const key = randomUUID();
    const count = 120;
    async function* requests() {
      for (let n = 1; n <= count; n += 1) {
        const bad = n % 10 === 0;
        const keyed = n % 10 === 1;
        yield {
          sequence: BigInt(n),
          request: { notification: inApp(bad ? { recipient: {} } : {}), idempotencyKey: keyed ? key : '' },
        };
      }
    }
    const answers = new Map<number, SendResult | undefined>();
    for await (const { sequence, result } of carillon.client.sendNotificationStream(requests())) {
      answers.set(Number(sequence), result);
    }
    expect(answers.size).to.equal(count);
    const ids = new Set<string>();
    for (const [n, result] of answers) {
      if (n % 10 === 0) expect(refused(result).reason).to.equal('RECIPIENT_ADDRESS_MISSING');
      else ids.add(idsOf(accepted(result))[0] ?? '');
    }
    // 108 good ones, of which 12 have the same key.
    expect(ids.size).to.equal(97);
    for (const id of [...ids].slice(-3)) await carillon.until(id, Status.SENT);
  });

  it('an item on a stream is answered while the stream stays open', async () => {
    const asked = Promise.withResolvers<void>();
    async function* requests() {
      yield { sequence: 7n, request: { notification: inApp() } };
      await asked.promise;
      yield { sequence: 8n };
    }
    const sequences: bigint[] = [];
    for await (const { sequence, result } of carillon.client.sendNotificationStream(requests())) {
      sequences.push(sequence);
      if (sequence === 8n) expect(refused(result).fields).to.deep.equal(['request']);
      asked.resolve();
    }
    expect(sequences).to.deep.equal([7n, 8n]);
  });
}
