/** What single keys allow but their combination does not. */
import { isLoopback, parseAddress } from './value.ts';
import type { Values } from './values.ts';

interface Rule {
  /** The keys it is about. It is left out when one of them was refused already: its verdict would only confuse. */
  readonly keys: readonly string[];
  /** One sentence each, empty when all is well. */
  faults(v: Values): readonly string[];
}

/** Clock skew that a lease must outlast beyond the attempt's deadline, seconds. */
const SKEW_SECONDS = 15;

/** @returns one sentence for each rule broken. */
export function brokenRules(v: Values, refused: ReadonlySet<string>): string[] {
  return RULES.filter((rule) => !rule.keys.some((key) => refused.has(key))).flatMap((rule) => rule.faults(v));
}

/** A rule that says one thing or nothing. */
const rule = (keys: readonly string[], broken: (v: Values) => boolean, fault: string): Rule => ({
  keys,
  faults: (v) => (broken(v) ? [fault] : []),
});

const RULES: readonly Rule[] = [
  rule(['role'], (v) => v.strings('role').length === 0, 'role must name at least one of api, worker, scheduler'),
  rule(
    ['store.kind', 'queue.kind'],
    (v) =>
      !['sqlite+sqlite', 'mongo+jetstream', 'sqlite+memory'].includes(
        `${v.string('store.kind')}+${v.string('queue.kind')}`,
      ),
    'store.kind and queue.kind must be sqlite and sqlite, mongo and jetstream, or (for tests) sqlite and memory',
  ),
  rule(
    ['store.kind', 'store.mongo.url'],
    (v) => v.string('store.kind') === 'mongo' && v.string('store.mongo.url') === '',
    'store.mongo.url must be given for store.kind = "mongo"',
  ),
  rule(
    ['server.tls.cert_file', 'server.tls.key_file'],
    (v) => (v.string('server.tls.cert_file') === '') !== (v.string('server.tls.key_file') === ''),
    'server.tls.cert_file and server.tls.key_file must be given together',
  ),
  rule(
    ['server.tls.cert_file', 'server.tls.client_ca_file'],
    (v) => v.string('server.tls.client_ca_file') !== '' && v.string('server.tls.cert_file') === '',
    'server.tls.client_ca_file needs server.tls.cert_file and server.tls.key_file',
  ),
  openListener('server.grpc_address'),
  openListener('server.http_address'),
  uniqueEntries('auth.keys', 'name'),
  uniqueEntries('auth.keys', 'sha256'),
  uniqueEntries('notifications.rate_limits', 'channel'),
  rule(
    ['queue.nats.user', 'queue.nats.password'],
    (v) => (v.string('queue.nats.user') === '') !== (v.string('queue.nats.password') === ''),
    'queue.nats.user and queue.nats.password must be given together',
  ),
  rule(
    ['queue.nats.user', 'queue.nats.token', 'queue.nats.creds_file'],
    (v) => ['user', 'token', 'creds_file'].filter((key) => v.string(`queue.nats.${key}`) !== '').length > 1,
    'only one of queue.nats.user, queue.nats.token and queue.nats.creds_file can be given',
  ),
  rule(
    ['worker.attempt_deadline_seconds', 'worker.lease_seconds'],
    (v) => v.number('worker.attempt_deadline_seconds') + SKEW_SECONDS >= v.number('worker.lease_seconds'),
    `worker.lease_seconds must be more than worker.attempt_deadline_seconds and ${SKEW_SECONDS} together`,
  ),
  rule(
    ['retry.base_seconds', 'retry.urgent_base_seconds', 'retry.cap_seconds'],
    (v) =>
      Math.max(v.number('retry.base_seconds'), v.number('retry.urgent_base_seconds')) > v.number('retry.cap_seconds'),
    'retry.cap_seconds must not be less than retry.base_seconds and retry.urgent_base_seconds',
  ),
  rule(
    ['retention.content_days', 'retention.settled_days'],
    (v) => v.number('retention.content_days') > v.number('retention.settled_days'),
    'retention.content_days must not be more than retention.settled_days',
  ),
  rule(
    ['notifications.circuit.open_seconds', 'notifications.circuit.max_open_seconds'],
    (v) => v.number('notifications.circuit.open_seconds') > v.number('notifications.circuit.max_open_seconds'),
    'notifications.circuit.max_open_seconds must not be less than notifications.circuit.open_seconds',
  ),
];

/** Without API keys or client certificates everyone who can connect may do everything. */
function openListener(key: string): Rule {
  return rule(
    [key, 'auth.keys', 'server.tls.client_ca_file'],
    (v) => {
      const address = parseAddress(v.string(key));
      const guarded = v.tables('auth.keys').length > 0 || v.string('server.tls.client_ca_file') !== '';
      return address !== undefined && !isLoopback(address.host) && !guarded;
    },
    `${key} is not a loopback address: that needs auth.keys or server.tls.client_ca_file`,
  );
}

function uniqueEntries(list: string, key: string): Rule {
  return rule(
    [list],
    (v) => {
      const values = v.tables(list).map((entry) => entry.string(key).toLowerCase());
      return new Set(values).size < values.length;
    },
    `two entries of ${list} have the same ${key}`,
  );
}
