import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ConfigError, defaultSchema, loadConfig } from '../src/config.ts';
import type { Config, ConfigFlags } from '../src/config.ts';
import { variableOf } from '../src/config/layers.ts';
import type { Environment } from '../src/config/layers.ts';
import type { KeySpec, Value } from '../src/config/schema.ts';
import { toConfig } from '../src/config/to-config.ts';
import { checkValue, Fault } from '../src/config/value.ts';
import { Values } from '../src/config/values.ts';
import { systemClock } from '../src/domain/clock.ts';
import type { RouteConfig } from '../src/providers/routes.ts';

const SHA256 = 'ab'.repeat(32);
const SECRET = 'hunter2-do-not-show';

const namesOf = (routes: readonly RouteConfig[]): readonly string[] => routes.map(({ provider }) => provider);

describe('configuration', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'carillon-config-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return name;
  };
  const load = (flags: ConfigFlags = {}, environment: Environment = {}): Config =>
    loadConfig(flags, environment, folder);
  const set = (...pairs: readonly string[]): Config => load({ set: pairs });
  const faultsOf = (flags: ConfigFlags = {}, environment: Environment = {}): readonly string[] => {
    try {
      load(flags, environment);
    } catch (thrown) {
      if (thrown instanceof ConfigError) return thrown.faults;
      throw thrown;
    }
    return [];
  };
  /** The keys that the faults name, which is what a user looks for. */
  const faulty = (...pairs: readonly string[]): readonly string[] => faultsOf({ set: pairs });

  describe('layers', () => {
    it('starts embedded, on loopback, with nothing given', () => {
      const config = load();
      expect(config.backend).to.deep.equal({ kind: 'sqlite', path: 'data/carillon.db' });
      expect(config.server.grpc).to.deep.equal({ host: '127.0.0.1', port: 50051 });
      expect(namesOf(config.routes.email)).to.deep.equal(['capture']);
      expect(namesOf(config.routes.in_app)).to.deep.equal(['store']);
      expect(config.roles).to.deep.equal(['api', 'worker', 'scheduler']);
    });

    it('lets the file win over the default, a variable over the file and a flag over the variable', () => {
      write('carillon.toml', '[server]\nmax_streams = 1\n[limits]\nmax_outbox = 1\n[log]\nlevel = "warn"\n');
      const environment = { CARILLON_LIMITS_MAX_OUTBOX: '2', CARILLON_LOG_LEVEL: 'error' };
      const config = load({ set: ['log.level=fatal'] }, environment);
      expect([config.server.maxStreams, config.limits.maxOutbox, config.log.level]).to.deep.equal([1, 2, 'fatal']);
    });

    it('reads the file of --config before the one of CARILLON_CONFIG before carillon.toml', () => {
      for (const [name, n] of [
        ['carillon.toml', 1],
        ['variable.toml', 2],
        ['flag.toml', 3],
      ] as const) {
        write(name, `[server]\nmax_streams = ${n}`);
      }
      expect(load().server.maxStreams).to.equal(1);
      expect(load({}, { CARILLON_CONFIG: 'variable.toml' }).server.maxStreams).to.equal(2);
      expect(load({ config: 'flag.toml' }, { CARILLON_CONFIG: 'variable.toml' }).server.maxStreams).to.equal(3);
    });

    it('puts variables into texts of the file, and into numbers and lists', () => {
      write(
        'carillon.toml',
        `[store.sqlite]\npath = "\${DIR}/x.db"\n[server]\nmax_streams = "\${N}"\n` +
          `[notifications]\nstore_name = "$\${DIR}"\n[notifications.webhooks]\nallow_private = ["\${HOST}"]\n` +
          `[[auth.keys]]\nname = "a"\nsha256 = "\${SHA}"`,
      );
      const config = load({}, { DIR: '/var', N: '7', HOST: 'inside', SHA: SHA256 });
      expect(config.backend).to.deep.equal({ kind: 'sqlite', path: '/var/x.db' });
      expect(config.server.maxStreams).to.equal(7);
      expect(config.store.name).to.equal('${DIR}');
      expect(config.auth.keys[0]?.sha256).to.equal(SHA256);
    });

    it('takes lists and lists of tables from a variable', () => {
      const config = load(
        {},
        {
          CARILLON_ROLE: 'api, worker',
          CARILLON_QUEUE_NATS_SERVERS: '["nats://a:1", "nats://b:2"]',
          CARILLON_NOTIFICATIONS_RATE_LIMITS: '[{ channel = "sms", max_per_minute = 10 }]',
        },
      );
      expect(config.roles).to.deep.equal(['api', 'worker']);
      expect(config.rateLimits).to.deep.equal([{ channel: 'sms', maxPerMinute: 10, burst: 1 }]);
    });

    it('takes the roles from --role', () => {
      expect(load({ role: 'worker' }, { CARILLON_ROLE: 'api' }).roles).to.deep.equal(['worker']);
    });

    it('takes one provider for a list of one', () => {
      write('carillon.toml', '[notifications.in_app]\nprovider = "capture"');
      expect(namesOf(load().routes.in_app)).to.deep.equal(['capture']);
    });

    it('leaves variables alone that an orchestrator sets for a service of that name', () => {
      const injected = {
        CARILLON_SERVICE_HOST: '10.0.0.1',
        CARILLON_PORT: 'tcp://10.0.0.1:1',
        CARILLON_PORT_1_TCP_ADDR: 'x',
      };
      expect(faultsOf({}, injected)).to.deep.equal([]);
    });
  });

  describe('faults', () => {
    it('names every fault at once', () => {
      expect(faulty('log.level=loud', 'server.max_streams=0', 'nothing=1')).to.have.length(3);
    });

    it('refuses an unknown key and names the nearest', () => {
      write('carillon.toml', '[server]\ngrpc_adress = "x"');
      expect(faultsOf()).to.have.length(1);
      expect(faultsOf()[0]).to.include('server.grpc_adress').and.include('server.grpc_address');
    });

    it('refuses an unknown variable and names the nearest', () => {
      const [fault] = faultsOf({}, { CARILLON_SERVER_MAX_STREAM: '1' });
      expect(fault).to.include('CARILLON_SERVER_MAX_STREAMS');
    });

    it('refuses a value of the wrong kind', () => {
      expect(faulty('server.max_streams=1.5', 'templates.auto_reload=yes')).to.have.length(2);
      write(
        'carillon.toml',
        '[server]\nmax_streams = "many"\n[templates]\nauto_reload = 1\n[notifications.sms]\nproviders = [1]',
      );
      expect(faultsOf()).to.have.length(3);
    });

    it('refuses a number outside its range, and takes both ends', () => {
      expect(faulty('server.max_streams=0', 'queue.nats.replicas=6', 'queue.nats.replicas=0')).to.have.length(3);
      expect(set('queue.nats.replicas=5').backend.kind).to.equal('sqlite');
      expect(set('queue.nats.replicas=1').backend.kind).to.equal('sqlite');
    });

    it('refuses a word that is not in the list, and one that is there twice', () => {
      expect(faulty('role=api,cook')).to.have.length(1);
      expect(faulty('role=api,api')).to.have.length(1);
    });

    for (const [key, good, bad] of [
      ['server.grpc_address', '[::1]:0', '127.0.0.1'],
      ['server.http_address', 'localhost:65535', 'localhost:65536'],
      ['server.public_url', 'https://notify.example.com', 'notify.example.com'],
      ['server.public_url', 'https://notify.example.com/base', 'https://user:pass@notify.example.com'],
      ['notifications.default_sender_email', 'a@example.com', 'a@b>,c@d'],
      ['notifications.default_locale', 'pt-BR', 'portuguese!'],
      ['notifications.store_url', 'https://example.com', 'javascript:alert(1)'],
      ['notifications.webhooks.secrets', `whsec_${Buffer.alloc(24).toString('base64')}`, 'whsec_c2hvcnQ='],
      ['notifications.webhooks.allow_private', '10.0.0.0/8', '10.0.0.0/64'],
      ['queue.nats.servers', 'tls://nats-1:4222', 'nats://user:pass@nats-1:4222'],
      ['store.mongo.url', 'mongodb://a,b/?replicaSet=rs0', 'postgres://a'],
    ] as const) {
      it(`holds ${key} to its format`, () => {
        expect(faulty(`${key}=${good}`)).to.deep.equal([]);
        const faults = faulty(`${key}=${bad}`);
        expect(faults).to.have.length(1);
        expect(faults[0]).to.include(key);
      });
    }

    it('refuses a variable in the file that is not set', () => {
      write('carillon.toml', '[store.sqlite]\npath = "${NOT_SET_ANYWHERE}"');
      expect(faultsOf()[0]).to.include('NOT_SET_ANYWHERE').and.include('store.sqlite.path');
    });

    it('tells a variable that is not set once, not again as a value that is wrong or not given', () => {
      write(
        'carillon.toml',
        '[server]\nmax_streams = "${NOT_SET}"\n[notifications.push]\nproviders = ["onesignal"]\n' +
          '[notifications.push.onesignal]\napp_id = "a"\napi_key = "${NOT_SET}"',
      );
      const faults = faultsOf();
      expect(faults).to.have.length(2);
      for (const fault of faults) expect(fault).to.include('NOT_SET');
    });

    it('refuses a file that is missing, one that is not TOML, and never quotes it', () => {
      expect(faultsOf({ config: 'missing.toml' })).to.have.length(1);
      write('carillon.toml', `[notifications.email.smtp]\npassword = "${SECRET}\n`);
      const faults = faultsOf();
      expect(faults).to.have.length(1);
      expect(faults[0]).to.not.include(SECRET);
    });

    it('never repeats a secret or what came from a variable', () => {
      write(
        'carillon.toml',
        `[notifications.email.smtp]\npassword = ["${SECRET}"]\n[notifications.webhooks]\nsecrets = ["${SECRET}"]\n` +
          '[server]\nmax_streams = "${S}"',
      );
      const faults = faultsOf({}, { S: SECRET, CARILLON_STORE_MONGO_URL: SECRET, CARILLON_LIMITS_MAX_OUTBOX: SECRET });
      expect(faults).to.have.length(5);
      expect(faults.join()).to.not.include(SECRET);
    });

    it('names the entry and key of a broken table', () => {
      write('carillon.toml', `[[auth.keys]]\nname = "a"\nsha256 = "${SHA256}"\n[[auth.keys]]\nname = "b"`);
      expect(faultsOf()[0]).to.include('entry 2').and.include('sha256');
      write('carillon.toml', '[[notifications.rate_limits]]\nchannel = "fax"\nmax_per_minute = 1');
      expect(faultsOf()[0]).to.include('channel');
      write('carillon.toml', '[[notifications.rate_limits]]\nchannel = "sms"\nmax_per_minute = 1\nper_hour = 1');
      expect(faultsOf()[0]).to.include('per_hour');
    });

    it('refuses a named file that cannot be read', () => {
      write('cert.pem', 'certificate');
      expect(faulty('server.tls.cert_file=cert.pem', 'server.tls.key_file=nowhere.pem')).to.have.length(1);
    });
  });

  describe('combinations', () => {
    const mongo = ['store.kind=mongo', 'store.mongo.url=mongodb://localhost'];

    it('starts only the pairs sqlite and sqlite, mongo and jetstream, and memory', () => {
      expect(set(...mongo, 'queue.kind=jetstream').backend.kind).to.equal('cluster');
      expect(set('queue.kind=memory').backend).to.deep.equal({ kind: 'memory' });
      expect(faulty('queue.kind=jetstream')).to.have.length(1);
      expect(faulty(...mongo)).to.have.length(1);
      expect(faulty(...mongo, 'queue.kind=memory')).to.have.length(1);
    });

    it('is silent about a combination whose parts were refused already', () => {
      expect(faulty('queue.kind=kafka', ...mongo)).to.have.length(1);
    });

    it('needs the address of mongo for mongo', () => {
      expect(faulty('store.kind=mongo', 'queue.kind=jetstream')[0]).to.include('store.mongo.url');
    });

    it('binds other than loopback only with API keys or client certificates', () => {
      expect(faulty('server.grpc_address=0.0.0.0:1', 'server.http_address=[::]:1')).to.have.length(2);
      expect(faulty('server.grpc_address=example.com:1')).to.have.length(1);
      expect(
        set('server.grpc_address=0.0.0.0:1', `auth.keys=[{ name = "a", sha256 = "${SHA256}" }]`).auth.keys,
      ).to.have.length(1);
      for (const name of ['cert', 'key', 'ca']) write(name, `${name} text`);
      const tls = ['cert_file=cert', 'key_file=key', 'client_ca_file=ca'].map((pair) => `server.tls.${pair}`);
      expect(set('server.grpc_address=0.0.0.0:1', ...tls).server.tls).to.deep.equal({
        cert: 'cert text',
        key: 'key text',
        clientCa: 'ca text',
      });
    });

    it('needs a certificate and its key together, and both for client certificates', () => {
      write('some.pem', 'text');
      expect(faulty('server.tls.cert_file=some.pem')).to.have.length(1);
      expect(faulty('server.tls.client_ca_file=some.pem')).to.have.length(1);
    });

    it('needs a lease longer than the attempt and the skew of clocks', () => {
      expect(faulty('worker.lease_seconds=60')).to.have.length(1);
      expect(set('worker.lease_seconds=60.5').worker.leaseMs).to.equal(60_500);
    });

    it('refuses keys, limits and credentials that contradict each other', () => {
      const key = (name: string, sha: string): string => `{ name = "${name}", sha256 = "${sha}" }`;
      expect(faulty(`auth.keys=[${key('a', SHA256)}, ${key('b', SHA256.toUpperCase())}]`)).to.have.length(1);
      expect(faulty(`auth.keys=[${key('a', SHA256)}, ${key('a', 'cd'.repeat(32))}]`)).to.have.length(1);
      const limit = '{ channel = "sms", max_per_minute = 1 }';
      expect(faulty(`notifications.rate_limits=[${limit}, ${limit}]`)).to.have.length(1);
      expect(faulty('queue.nats.user=u')).to.have.length(1);
      expect(faulty('queue.nats.user=u', 'queue.nats.password=p', 'queue.nats.token=t')).to.have.length(1);
      expect(faulty('retry.cap_seconds=1')).to.have.length(1);
      expect(faulty('notifications.circuit.open_seconds=301')).to.have.length(1);
      expect(faulty('retention.content_days=91')).to.have.length(1);
      expect(faulty('role=')).to.have.length(1);
    });
  });

  describe('providers', () => {
    const at = (pair: string): string => `notifications.sms.custom.${pair}`;
    const secret = `whsec_${Buffer.alloc(24).toString('base64')}`;
    const custom = ['notifications.sms.providers=custom', at('url=http://sms.test/'), at(`secrets=${secret}`)];

    it('needs what a provider needs, only if it is named', () => {
      expect(faulty('notifications.email.smtp.username=u')).to.deep.equal([]);
      expect(faulty('notifications.email.providers=smtp')).to.have.length(2);
      const good = [
        'notifications.email.providers=smtp',
        'notifications.email.smtp.host=h',
        'notifications.email.smtp.from_address=a@b',
      ];
      expect(faulty(...good)).to.deep.equal([]);
      expect(faulty(...good, 'notifications.email.smtp.username=u')).to.have.length(1);
    });

    it('names the key that is missing', () => {
      expect(faulty('notifications.email.providers=smtp', 'notifications.default_sender_email=a@b')).to.have.length(1);
      const [fault] = faulty(...custom, at('url='));
      expect(fault).to.include('notifications.sms.custom.url').and.include('custom');
    });

    it('takes the senders that stand for all providers', () => {
      const given = ['notifications.email.providers=smtp', 'notifications.email.smtp.host=h'];
      expect(faulty(...given)).to.have.length(1);
      expect(faulty(...given, 'notifications.default_sender_email=a@b')).to.deep.equal([]);
    });

    it('keeps each part of the senders without the others', () => {
      const sender = (key: string, value: string): unknown => set(`notifications.default_${key}=${value}`).senders;
      expect(load().senders).to.deep.equal({});
      expect(sender('sender_email', 'a@b')).to.deep.equal({ emailAddress: 'a@b' });
      expect(sender('sender_name', 'Shop')).to.deep.equal({ emailName: 'Shop' });
      expect(sender('sms_sender', '+15550000001')).to.deep.equal({ sms: '+15550000001' });
    });

    it('is silent about what a value lacks that was refused already', () => {
      const named = 'notifications.sms.providers=custom';
      expect(faulty(named, at('url=nowhere'), at(`secrets=${secret}`))).to.have.length(1);
      expect(faulty(named, at('url=http://sms.test/'), at('secrets=short'))).to.have.length(1);
      expect(faulty('notifications.sms.providers=pigeon')).to.have.length(1);
    });

    it('holds the keys of a provider that nobody names to their kinds', () => {
      expect(faulty(at('weight=heavy'), at('colour=red'), at('burst=0'))).to.have.length(3);
    });

    it('takes for a channel only providers that serve it', () => {
      expect(faulty('notifications.sms.providers=smtp')).to.have.length(1);
      expect(faulty('notifications.email.providers=capture,store')).to.have.length(1);
      expect(namesOf(set('notifications.in_app.providers=store,capture').routes.in_app)).to.deep.equal([
        'store',
        'capture',
      ]);
    });

    it('gives each its place: weight, limit and quota', () => {
      const given = ['weight=3', 'max_per_minute=60', 'burst=5', 'max_per_day=1000'].map(at);
      expect(set(...custom, ...given).routes.sms[0]).to.deep.include({
        provider: 'custom',
        weight: 3,
        limit: { perMinute: 60, burst: 5 },
        maxPerDay: 1_000,
      });
    });

    it('limits none unless told', () => {
      expect(set(...custom).routes.sms[0])
        .to.have.all.keys('provider', 'weight', 'configured')
        .and.include({ weight: 0 });
    });

    it('takes their keys from variables and the file, as all keys', () => {
      write(
        'carillon.toml',
        '[notifications.sms]\nprovider = "custom"\n[notifications.sms.custom]\nsecrets = ["${S}"]',
      );
      const environment = {
        S: secret,
        CARILLON_NOTIFICATIONS_SMS_CUSTOM_URL: 'http://sms.test/',
        CARILLON_NOTIFICATIONS_SMS_CUSTOM_MAX_PER_DAY: '7',
      };
      expect(load({}, environment).routes.sms[0]).to.deep.include({ provider: 'custom', maxPerDay: 7 });
    });

    it('keeps the keys of webhooks in the section of the channel', () => {
      const config = set(
        'notifications.webhooks.providers=http',
        'notifications.webhooks.max_concurrent=7',
        'notifications.webhooks.max_per_minute=60',
        'notifications.webhooks.retry_policy=linear',
      );
      expect(config.routes.webhook[0]).to.deep.include({ provider: 'http', limit: { perMinute: 60, burst: 1 } });
      expect(config.worker.concurrency.webhook).to.equal(7);
      expect(config.webhookRetry?.backoff).to.equal('linear');
    });

    it('can be opened although the configuration is frozen', async () => {
      const [route] = set(...custom).routes.sms;
      if (route === undefined) throw new Error('there is no route');
      expect(Object.isFrozen(route.configured)).to.equal(true);
      const context = { name: 'custom', channel: 'sms', senders: {}, clock: systemClock } as const;
      await using provider = await route.configured.open(context);
      expect(provider.channel).to.equal('sms');
    });
  });

  describe('result', () => {
    it('has the times of a circuit in milliseconds', () => {
      const given = ['failures=3', 'open_seconds=0.5', 'max_open_seconds=60'];
      const { circuit } = set(...given.map((pair) => `notifications.circuit.${pair}`));
      expect(circuit).to.deep.equal({ failures: 3, openMs: 500, maxOpenMs: 60_000 });
      expect(load().circuit).to.deep.equal({ failures: 5, openMs: 30_000, maxOpenMs: 300_000 });
    });

    it('has the public address without the slash at its end, and none unless given', () => {
      expect(set('server.public_url=https://notify.test/base/').server.publicUrl).to.equal('https://notify.test/base');
      expect(load().server).to.not.have.property('publicUrl');
    });

    it('is frozen all the way down', () => {
      const config = load();
      expect(() => Object.assign(config.server.grpc, { port: 1 })).to.throw(TypeError);
      expect(Object.isFrozen(config.routes.email[0])).to.equal(true);
    });

    it('reads every key that the default file explains', () => {
      const { keys } = defaultSchema();
      // The keys of a provider are read once a list names it.
      const valueOf = ({ path, words, fallback }: KeySpec): Value =>
        path.endsWith('.providers') ? (words ?? []) : fallback;
      const values = new Values(new Map([...keys.values()].map((key) => [key.path, valueOf(key)])));
      toConfig(values);
      expect([...keys.keys()].filter((key) => !values.used.has(key))).to.deep.equal([]);
    });

    it('has for each key a default that its own rules allow', () => {
      const readFile = (): string => '';
      const broken = [...defaultSchema().keys.values()].filter(
        (key) => checkValue(key, key.fallback, false, { readFile }) instanceof Fault,
      );
      expect(broken).to.deep.equal([]);
    });

    it('has no key twice', () => {
      const paths = defaultSchema().sections.flatMap(({ keys }) => keys.map(({ path }) => path));
      expect(new Set(paths).size).to.equal(paths.length);
    });

    it('has no two keys with one variable', () => {
      const keys = [...defaultSchema().keys.keys()];
      expect(new Set(keys.map(variableOf)).size).to.equal(keys.length);
    });

    it('takes the shipped example, with fail-over between two relays and texts shared by weight', () => {
      const text = readFileSync(join(import.meta.dirname, '..', 'examples', 'carillon.toml'), 'utf8');
      write('carillon.toml', text);
      const names = [...text.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => [name ?? '', 'x'] as const);
      const config = load({}, Object.fromEntries(names));
      expect(namesOf(config.routes.email)).to.deep.equal(['smtp', 'smtp_fallback']);
      expect(config.routes.sms.map(({ provider, weight }) => [provider, weight])).to.deep.equal([
        ['twilio', 3],
        ['vonage', 1],
      ]);
      expect(config.rateLimits).to.deep.equal([
        { channel: 'email', maxPerMinute: 100, burst: 20 },
        { channel: 'sms', maxPerMinute: 10, burst: 2 },
        { channel: 'push', maxPerMinute: 500, burst: 100 },
      ]);
    });
  });
});
