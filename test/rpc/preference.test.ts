import { type Client, createClient } from '@connectrpc/connect';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { expect } from 'chai';
import { Channel } from '../../gen/carillon/v1/notification_pb.js';
import { PreferenceService, SuppressionReason, type Suppression } from '../../gen/carillon/v1/preference_service_pb.js';
import { createPreferenceService } from '../../src/rpc/preference-service.ts';
import { openPipeline, type Pipeline } from '../support/fake-pipeline.ts';
import { failureOf, PROTOCOLS, startRpc, type RpcServer } from '../support/rpc-server.ts';
import { specOf } from '../pipeline/template-fixture.ts';

const ANA = { channel: Channel.EMAIL, address: 'ana@example.com' };
const TENANT = 'default';

describe('PreferenceService', () => {
  let pipeline: Pipeline;
  let rpc: RpcServer;
  let client: Client<typeof PreferenceService>;

  before(async () => {
    pipeline = await openPipeline();
    rpc = await startRpc({}, { services: [createPreferenceService(pipeline)] });
    client = createClient(PreferenceService, rpc.transport('gRPC'));
  });

  afterEach(async () => {
    const { storage } = pipeline;
    for (const tenant of [TENANT, 'bank']) {
      const left = await storage.listSuppressions({ tenant, limit: 1_000 });
      await Promise.all(
        left.map(({ addressHash, category = '' }) => storage.removeSuppressions({ addressHash, category })),
      );
    }
  });

  after(async () => {
    await rpc[Symbol.asyncDispose]();
    await pipeline[Symbol.asyncDispose]();
  });

  /** Of every page. */
  async function listed(request: Parameters<typeof client.listSuppressions>[0] = {}): Promise<Suppression[]> {
    const found: Suppression[] = [];
    let pageToken = '';
    do {
      const page = await client.listSuppressions({ ...request, pageToken });
      found.push(...page.suppressions);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    return found;
  }

  const stops = async (channel: 'email' | 'sms', address: string, category = 'general'): Promise<boolean> => {
    const [stop] = await pipeline.suppressor.stops(specOf({ channel, category }), [address]);
    return stop !== undefined;
  };

  for (const protocol of PROTOCOLS) {
    it(`adds, lists and removes over ${protocol}`, async () => {
      const over = createClient(PreferenceService, rpc.transport(protocol));
      await over.addSuppression({ address: { ...ANA, category: 'marketing' }, detail: 'asked by letter' });
      const { suppressions, nextPageToken } = await over.listSuppressions({});
      expect(nextPageToken).to.equal('');
      expect(suppressions.map(({ createdAt, ...rest }) => [rest, createdAt && timestampMs(createdAt)])).to.deep.equal([
        [
          {
            $typeName: 'carillon.v1.Suppression',
            channel: Channel.EMAIL,
            category: 'marketing',
            reason: SuppressionReason.MANUAL,
            source: 'api',
            detail: 'asked by letter',
          },
          pipeline.clock.now(),
        ],
      ]);
      await over.removeSuppression({ address: { ...ANA, category: 'marketing' } });
      expect((await over.listSuppressions({})).suppressions).to.deep.equal([]);
    });
  }

  it('stops what is added, for its channel and category only, until it is removed', async () => {
    await client.addSuppression({ address: { ...ANA, category: 'marketing' } });
    await client.addSuppression({ address: { channel: Channel.SMS, address: '+15551230000' } });
    expect(await stops('email', 'ana@example.com', 'marketing')).to.equal(true);
    expect(await stops('email', 'ana@example.com', 'orders')).to.equal(false);
    expect(await stops('sms', '+15551230000', 'orders')).to.equal(true);
    await client.removeSuppression({ address: { channel: Channel.SMS, address: '+15551230000' } });
    expect(await stops('sms', '+15551230000', 'orders')).to.equal(false);
  });

  it('knows an e-mail address by any spelling', async () => {
    await client.addSuppression({ address: { ...ANA, address: 'ANA@Example.com' } });
    expect(await stops('email', 'ana@example.com')).to.equal(true);
    await client.removeSuppression({ address: { ...ANA, address: 'ana@EXAMPLE.com' } });
    expect(await listed()).to.deep.equal([]);
  });

  it('puts one beside those that stand for another reason, and leaves its own as it is', async () => {
    const { clock, suppressor } = pipeline;
    await suppressor.add([
      { tenant: TENANT, channel: 'email', address: ANA.address, reason: 'hard_bounce', source: 'ses' },
    ]);
    await clock.advance(1_000);
    await client.addSuppression({ address: ANA, detail: 'first' });
    await client.addSuppression({ address: ANA, detail: 'again' });
    const found = await listed();
    expect(found.map(({ reason, source, detail }) => [reason, source, detail])).to.deep.equal([
      [SuppressionReason.HARD_BOUNCE, 'ses', ''],
      [SuppressionReason.MANUAL, 'api', 'first'],
    ]);
    await client.removeSuppression({ address: ANA });
    expect(await listed()).to.deep.equal([]);
  });

  it('removes only the one with the category that was named', async () => {
    await client.addSuppression({ address: ANA });
    await client.addSuppression({ address: { ...ANA, category: 'marketing' } });
    await client.removeSuppression({ address: ANA });
    expect((await listed()).map(({ category }) => category)).to.deep.equal(['marketing']);
  });

  it('answers SUPPRESSION_NOT_FOUND for one that is not there', async () => {
    await client.addSuppression({ address: { ...ANA, category: 'marketing' } });
    const missing = { code: 'NotFound', reason: 'SUPPRESSION_NOT_FOUND' };
    for (const address of [ANA, { ...ANA, category: 'orders' }, { ...ANA, channel: Channel.SMS }]) {
      expect(await failureOf(client.removeSuppression({ address }))).to.include(missing);
    }
  });

  it('keeps the tenants apart', async () => {
    await pipeline.suppressor.add([
      { tenant: 'bank', channel: 'email', address: ANA.address, reason: 'manual', source: 'api' },
    ]);
    expect(await listed()).to.deep.equal([]);
    expect(await listed(ANA)).to.deep.equal([]);
    expect(await failureOf(client.removeSuppression({ address: ANA }))).to.include({ reason: 'SUPPRESSION_NOT_FOUND' });
  });

  describe('a list', () => {
    const categories = ['a', 'b', 'c', 'd', 'e', ''];

    beforeEach(async () => {
      for (const category of categories) await client.addSuppression({ address: { ...ANA, category } });
      for (let n = 0; n < 5; n += 1) {
        await client.addSuppression({ address: { channel: Channel.SMS, address: `+1555123000${n}` } });
      }
    });

    for (const pageSize of [1, 2, 4, 100]) {
      it(`comes whole in pages of ${pageSize}, each suppression once`, async () => {
        const found = await listed({ pageSize });
        const names = found.map(({ channel, category }) => (channel === Channel.SMS ? 'sms' : category));
        expect(names.toSorted()).to.deep.equal([...categories, 'sms', 'sms', 'sms', 'sms', 'sms'].toSorted());
      });

      it(`of an address comes whole in pages of ${pageSize}`, async () => {
        const found = await listed({ ...ANA, pageSize });
        expect(found.map(({ category }) => category)).to.deep.equal(categories.toSorted());
      });
    }

    it('has at most 20 on a page where no size is asked for', async () => {
      for (let n = 10; n < 25; n += 1) {
        await client.addSuppression({ address: { channel: Channel.SMS, address: `+155512300${n}` } });
      }
      const { suppressions, nextPageToken } = await client.listSuppressions({});
      expect(suppressions).to.have.length(20);
      expect((await client.listSuppressions({ pageToken: nextPageToken })).suppressions).to.have.length(6);
    });

    it('may be of one channel', async () => {
      const found = await listed({ channel: Channel.SMS, pageSize: 2 });
      expect(found.map(({ channel }) => channel)).to.deep.equal(Array.from({ length: 5 }, () => Channel.SMS));
    });

    it('shows no address', async () => {
      const all = JSON.stringify(await listed(), (_, value: unknown) =>
        typeof value === 'bigint' ? `${value}` : value,
      );
      expect(all).not.to.match(/ana|example|1555123/);
    });

    it('is refused with a token that is none of ours', async () => {
      const { nextPageToken } = await client.listSuppressions({ pageSize: 1 });
      const hash = Buffer.alloc(32);
      const forged = (category: string, reason = 'manual'): string =>
        Buffer.concat([hash, Buffer.from(`${reason}:${category}`)]).toString('base64url');
      expect((await client.listSuppressions({ pageToken: forged('marketing') })).suppressions).not.to.equal(undefined);
      for (const pageToken of [
        'nonsense',
        '!',
        `${nextPageToken}=`,
        nextPageToken.slice(0, 20),
        forged('Marketing'),
        forged('1'),
        forged('a'.repeat(65)),
        forged('marketing', 'because'),
        forged('marketing:more'),
      ]) {
        const invalid = { code: 'InvalidArgument', reason: 'PAGE_TOKEN_INVALID' };
        expect(await failureOf(client.listSuppressions({ pageToken })), pageToken).to.include(invalid);
      }
    });
  });

  describe('refuses', () => {
    const invalid = { code: 'InvalidArgument', reason: 'INVALID_FIELD' };

    const addresses: Readonly<Record<string, [Channel, string]>> = {
      'a number without its country code': [Channel.SMS, '5551230000'],
      'a number with spaces': [Channel.SMS, '+1 555 123 0000'],
      'an e-mail address that is none': [Channel.EMAIL, 'ana'],
      'an e-mail address of spaces': [Channel.EMAIL, '  '],
      'a device of spaces': [Channel.PUSH, '  '],
      'a webhook that is no URL': [Channel.WEBHOOK, 'hooks'],
    };
    for (const [what, [channel, address]] of Object.entries(addresses)) {
      it(`to add ${what}, which would stop nothing`, async () => {
        const failure = await failureOf(client.addSuppression({ address: { channel, address } }));
        expect(failure).to.deep.include({ ...invalid, fields: ['address.address'] });
      });
    }

    it('an address without a channel, and nothing at all', async () => {
      for (const address of [undefined, { ...ANA, channel: Channel.UNSPECIFIED }, { ...ANA, address: '' }]) {
        const request = address ? { address } : {};
        expect(await failureOf(client.addSuppression(request))).to.include(invalid);
        expect(await failureOf(client.removeSuppression(request))).to.include(invalid);
      }
      expect(await failureOf(client.listSuppressions({ address: ANA.address }))).to.include(invalid);
    });
  });

  it('takes addresses of the channels that have no rules of form', async () => {
    for (const [channel, address] of [
      [Channel.PUSH, 'device-token'],
      [Channel.SLACK, 'C1'],
      [Channel.IN_APP, 'ana'],
      [Channel.DISCORD, 'https://discord.example.com/hook'],
      [Channel.WEBHOOK, 'https://example.com/hook'],
    ] as const) {
      await client.addSuppression({ address: { channel, address } });
      expect(await listed({ channel, address }), address).to.have.length(1);
    }
  });
});
