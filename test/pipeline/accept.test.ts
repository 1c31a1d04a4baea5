import { expect } from 'chai';
import fc from 'fast-check';
import { HOUR, SECOND } from '../../src/domain/clock.ts';
import { systemRandom } from '../../src/domain/id.ts';
import { decodeToken } from '../../src/domain/token.ts';
import { CarillonError } from '../../src/errors.ts';
import { Acceptor, fingerprint } from '../../src/pipeline/accept.ts';
import type { Accepted } from '../../src/pipeline/accept.ts';
import type { ContentCheck, NotificationRequest } from '../../src/pipeline/resolve.ts';
import type { Fault } from '../support/fake-faults.ts';
import { Outage } from '../support/fake-faults.ts';
import { openPipeline } from '../support/fake-pipeline.ts';
import type { Pipeline } from '../support/fake-pipeline.ts';
import { FakeProvider, SENT } from '../support/fake-provider.ts';
import { aRequest } from '../support/fake-request.ts';
import { aRoute, openRouter } from '../support/fake-router.ts';
import { SAMPLE_TIME } from '../support/sample.ts';

function anAcceptor(pipeline: Pipeline, checkContent: ContentCheck = () => {}): Acceptor {
  return new Acceptor({
    ...pipeline,
    random: systemRandom,
    checkContent,
    router: openRouter(pipeline, [], {
      routes: (channel) => (channel === 'slack' ? [] : [aRoute(new FakeProvider('smtp', SENT))]),
    }),
    keyLife: HOUR,
  });
}

const send = (request: NotificationRequest, idempotencyKey?: string) =>
  ({ tenant: 'default', request, ...(idempotencyKey !== undefined && { idempotencyKey }) }) as const;
const three = aRequest({ channels: ['email', 'sms', 'webhook'] });
const idsOf = (accepted: Accepted): string[] => accepted.notifications.map(({ id }) => id);

async function reasonOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (thrown: unknown) => CarillonError.from(thrown).reason,
  );
}

async function countRows(pipeline: Pipeline): Promise<number> {
  return (await pipeline.storage.list({ tenant: 'default', limit: 1_000 })).length;
}

describe('accept', () => {
  it('stores one row per channel, tied by a group, before it answers, and publishes their hints', async () => {
    await using pipeline = await openPipeline();
    const accepted = await anAcceptor(pipeline).acceptOne(send(three));
    expect(accepted.notifications.map(({ channel, status }) => [channel, status])).to.deep.equal(
      three.channels.map((channel) => [channel, 'queued']),
    );
    for (const id of idsOf(accepted)) {
      const { spec, state } = await pipeline.stored(id);
      expect(spec.groupId).to.equal(accepted.groupId);
      expect(state).to.include({ version: 1, status: 'queued', wakeAt: SAMPLE_TIME + 60 * SECOND });
    }
    await pipeline.clock.until('the hints', () => pipeline.queue.published.length === 3);
    expect(pipeline.queue.published.map((hint) => hint.id)).to.deep.equal(idsOf(accepted));
  });

  it('answers a token from before the first event', async () => {
    await using pipeline = await openPipeline();
    const acceptor = anAcceptor(pipeline);
    for (let i = 0; i < 3; i++) {
      const accepted = await acceptor.acceptOne(send(aRequest()));
      const seq = decodeToken(accepted.watchToken)?.seq ?? Infinity;
      const seen = await pipeline.clock.until('its event', async () => {
        const { last } = await pipeline.feed.bounds();
        const stored = await pipeline.feed.read(seq, last, { tenant: 'default' }, 100);
        return stored.find(({ event }) => event.notificationId === idsOf(accepted)[0]);
      });
      expect(seen.event.version).to.equal(1);
    }
  });

  it('stores what is scheduled, expired or without a provider in its status, without a hint', async () => {
    await using pipeline = await openPipeline();
    const results = await anAcceptor(pipeline).accept([
      send(aRequest({ scheduledFor: SAMPLE_TIME + HOUR })),
      send(aRequest({ expiresAt: SAMPLE_TIME })),
      send(aRequest({ channels: ['slack'], recipient: { slackAddress: 'C1' } })),
    ]);
    const told = results.map((result) =>
      result instanceof CarillonError ? [] : result.notifications.map((n) => [n.status, n.reason]),
    );
    expect(told).to.deep.equal([[['pending', 'scheduled']], [['cancelled', 'expired']], [['failed', 'no_provider']]]);
    await pipeline.clock.advance(SECOND);
    expect(pipeline.queue.published).to.have.length(0);
  });

  it('writes nothing, of any channel, when one check fails', async () => {
    const writes: string[] = [];
    const note: Fault = (method) => void (/^(?:find|list)/.test(method) || writes.push(method));
    await using pipeline = await openPipeline({ storage: note });
    const refuseSms: ContentCheck = ({ channel }) => {
      if (channel === 'sms') throw new CarillonError('TEMPLATE_NOT_FOUND', 'no such template');
    };
    const acceptor = anAcceptor(pipeline, refuseSms);
    expect(await reasonOf(acceptor.acceptOne(send(three, 'key')))).to.equal('TEMPLATE_NOT_FOUND');
    const nowhere = aRequest({ channels: ['email', 'push'] });
    expect(await reasonOf(acceptor.acceptOne(send(nowhere, 'key')))).to.equal('RECIPIENT_ADDRESS_MISSING');
    expect(writes).to.deep.equal([]);
    expect(await countRows(pipeline)).to.equal(0);
  });

  it('takes or refuses each item of a batch on its own', async () => {
    await using pipeline = await openPipeline();
    const good = send(aRequest());
    const bad = send(aRequest({ channels: ['push'] }));
    const results = await anAcceptor(pipeline).accept([good, bad, good, bad, send(aRequest(), 'key')]);
    expect(results.map((r) => (r instanceof CarillonError ? r.reason : r.notifications.length))).to.deep.equal([
      1,
      'RECIPIENT_ADDRESS_MISSING',
      1,
      'RECIPIENT_ADDRESS_MISSING',
      1,
    ]);
    expect(await countRows(pipeline)).to.equal(3);
  });

  it('answers OUTBOX_FULL before anything is written', async () => {
    await using pipeline = await openPipeline({}, 1);
    const acceptor = anAcceptor(pipeline);
    pipeline.queue.away = true;
    await acceptor.acceptOne(send(aRequest()));
    await pipeline.clock.until('it is full', async () => {
      const before = await countRows(pipeline);
      const reason = await reasonOf(acceptor.acceptOne(send(aRequest())));
      expect(await countRows(pipeline)).to.equal(before + (reason ? 0 : 1));
      return reason === 'OUTBOX_FULL';
    });
  });

  it('keeps attachments under the e-mail before its row can be sent', async () => {
    const order: string[] = [];
    await using pipeline = await openPipeline({ storage: (method) => void order.push(method) });
    const file = { filename: 'a.txt', content: new Uint8Array([1, 2]), mimeType: 'text/plain' };
    const accepted = await anAcceptor(pipeline).acceptOne(send({ ...three, attachments: [file] }));
    expect(order.indexOf('saveAttachments')).to.be.below(order.indexOf('insert'));
    const [email = '', sms = ''] = idsOf(accepted);
    expect(await pipeline.storage.loadAttachments(email)).to.deep.equal([file]);
    expect(await pipeline.storage.loadAttachments(sms)).to.deep.equal([]);
  });
});

describe('accept under an idempotency key', () => {
  it('answers a repeat with the same ids and token, and from the rows as they are now', async () => {
    await using pipeline = await openPipeline();
    const acceptor = anAcceptor(pipeline);
    const first = await acceptor.acceptOne(send(three, 'key'));
    const [id = ''] = idsOf(first);
    const row = await pipeline.stored(id);
    const state = { ...row.state, version: 2, status: 'processing' as const };
    await pipeline.storage.update([{ from: 1, row: { ...row, state } }]);
    await pipeline.clock.advance(SECOND);
    const again = await acceptor.acceptOne(send(three, 'key'));
    expect({ ...again, notifications: idsOf(again) }).to.deep.equal({ ...first, notifications: idsOf(first) });
    expect(again.notifications.map((n) => n.status)).to.deep.equal(['processing', 'queued', 'queued']);
    expect(await countRows(pipeline)).to.equal(3);
  });

  for (const after of [false, true]) {
    it(`finishes under the reserved ids what broke off ${after ? 'after' : 'before'} the rows were written`, async () => {
      const failing = new Set(['insert']);
      const fault: Fault = (method) => (failing.delete(method) ? { reason: 'STORE_UNAVAILABLE', after } : undefined);
      await using pipeline = await openPipeline({ storage: fault });
      const acceptor = anAcceptor(pipeline);
      expect(await reasonOf(acceptor.acceptOne(send(three, 'key')))).to.equal('STORE_UNAVAILABLE');
      const accepted = await acceptor.acceptOne(send(three, 'key'));
      expect(await countRows(pipeline)).to.equal(3);
      expect(idsOf(await acceptor.acceptOne(send(three, 'key')))).to.deep.equal(idsOf(accepted));
      await pipeline.clock.until('the hints', () => new Set(pipeline.queue.published.map((h) => h.id)).size === 3);
    });
  }

  it('finishes a group of which a crash left only a part', async () => {
    await using pipeline = await openPipeline();
    const acceptor = anAcceptor(pipeline);
    const [, second = ''] = idsOf(await acceptor.acceptOne(send(three, 'key')));
    const part = await pipeline.stored(second);
    await using other = await openPipeline();
    const record = { ...part.spec, key: 'key', watchToken: 't', expiresAt: SAMPLE_TIME + HOUR };
    const ids = [systemRandom.id(SAMPLE_TIME), second, systemRandom.id(SAMPLE_TIME)];
    await other.storage.reserveKeys([{ ...record, fingerprint: fingerprint(three), ids }]);
    await other.storage.insert([part]);
    expect(idsOf(await anAcceptor(other).acceptOne(send(three, 'key')))).to.deep.equal(ids);
    expect(await countRows(other)).to.equal(3);
  });

  it('answers a repeat from its rows also when it would be refused by now, and nothing but that repeat', async () => {
    await using pipeline = await openPipeline();
    let gone = false;
    const acceptor = anAcceptor(pipeline, () => {
      if (gone) throw new CarillonError('TEMPLATE_NOT_FOUND', 'no such template any more');
    });
    const accepted = await acceptor.acceptOne(send(three, 'key'));
    gone = true;
    expect(await acceptor.acceptOne(send(three, 'key'))).to.deep.equal(accepted);
    for (const other of [send(three), send(three, 'another'), send(aRequest({ type: 'another' }), 'key')]) {
      expect(await reasonOf(acceptor.acceptOne(other))).to.equal('TEMPLATE_NOT_FOUND');
    }
    await pipeline.clock.advance(HOUR);
    expect(await reasonOf(acceptor.acceptOne(send(three, 'key')))).to.equal('TEMPLATE_NOT_FOUND');
  });

  it('refuses another request under the same key, also within one batch, and leaves other tenants alone', async () => {
    await using pipeline = await openPipeline();
    const acceptor = anAcceptor(pipeline);
    const other = aRequest({ type: 'another' });
    const [first, repeat, clash] = await acceptor.accept([send(three, 'k'), send(three, 'k'), send(other, 'k')]);
    if (!first || !repeat || first instanceof CarillonError || repeat instanceof CarillonError)
      throw new Error('refused');
    expect(idsOf(repeat)).to.deep.equal(idsOf(first));
    expect(clash).to.be.instanceOf(CarillonError).and.to.have.property('reason', 'IDEMPOTENCY_KEY_REUSED');
    expect(await reasonOf(acceptor.acceptOne(send(other, 'k')))).to.equal('IDEMPOTENCY_KEY_REUSED');
    expect(await reasonOf(acceptor.acceptOne({ ...send(other, 'k'), tenant: 'shop' }))).to.equal(undefined);
    expect(await countRows(pipeline)).to.equal(3);
  });

  it('takes the key for a new request when it has ended', async () => {
    await using pipeline = await openPipeline();
    const acceptor = anAcceptor(pipeline);
    await acceptor.acceptOne(send(three, 'key'));
    await pipeline.clock.advance(HOUR);
    await acceptor.acceptOne(send(aRequest({ type: 'another' }), 'key'));
    expect(await countRows(pipeline)).to.equal(4);
  });

  it('fails only the items that have a key when keys cannot be written', async () => {
    const outage = new Outage('STORE_UNAVAILABLE', 'reserveKeys');
    await using pipeline = await openPipeline({ storage: outage.fault });
    outage.on = true;
    const results = await anAcceptor(pipeline).accept([send(aRequest(), 'key'), send(aRequest())]);
    expect(results.map((r) => r instanceof CarillonError)).to.deep.equal([true, false]);
    expect(await countRows(pipeline)).to.equal(1);
  });
});

describe('fingerprint', () => {
  const shuffled = (value: unknown): unknown => {
    if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value;
    if (Array.isArray(value)) return value.map(shuffled);
    return Object.fromEntries(
      Object.entries(value)
        .toReversed()
        .map(([key, v]) => [key, shuffled(v)]),
    );
  };

  it('is the same whatever the order of keys, at any depth', () => {
    const data = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(data, data, (a, metadata) => {
        // JSON, from a generator of JSON.
        const request = aRequest({
          data: a as NonNullable<NotificationRequest['data']>,
          metadata: shuffled(metadata) as Record<string, string>,
        });
        expect(fingerprint(shuffled(request) as NotificationRequest)).to.equal(fingerprint(request));
      }),
    );
  });

  it('differs for another value, another order of a list, and other bytes of a file', () => {
    const file = (byte: number) => ({ filename: 'a', mimeType: 'text/plain', content: new Uint8Array([byte]) });
    const requests = [
      aRequest(),
      aRequest({ data: { a: 1 } }),
      aRequest({ data: { a: '1' } }),
      aRequest({ data: { a: [1, 2] } }),
      aRequest({ data: { a: [2, 1] } }),
      aRequest({ attachments: [file(1)] }),
      aRequest({ attachments: [file(2)] }),
    ];
    expect(new Set(requests.map(fingerprint)).size).to.equal(requests.length);
  });
});
