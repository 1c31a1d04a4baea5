/** A process that kills itself at one exact call of a port. */
import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Notification } from '../../src/domain/notification.ts';
import type { Receipt } from '../../src/domain/receipt.ts';
import type { Feed } from '../../src/feed/feed.ts';
import type { Job, Queue } from '../../src/queue/queue.ts';
import type { Provider } from '../../src/providers/provider.ts';
import type { Ports } from '../../src/service.ts';
import type { KeyRecord, Storage } from '../../src/storage/storage.ts';

/**
 * Only calls that concern one send are counted, so that the number of a call means the same in every run, whatever else
 * goes on. The send is known by its idempotency key, and by its ids once they were read from the key's record.
 */
export interface CrashPoint {
  readonly key: string;
  /** Ids that are known from a former life of the process. */
  readonly ids: readonly string[];
  /** Counts from 1. */
  readonly call: number;
  /** Not given: calls of every name count. */
  readonly name?: string;
  /** `before`: it never reaches the port, and all that does not wait for it goes on for a moment longer. */
  readonly when: 'before' | 'after';
}

/** What the process says on its standard error right before it kills itself. */
export const LAST_WORDS = 'crash point: ';

/** Real milliseconds: enough for an answer to go out. */
const MOMENT = 100;

class Gate {
  readonly #point: CrashPoint;
  readonly #ids: Set<string>;
  #calls = 0;

  constructor(point: CrashPoint) {
    this.#point = point;
    this.#ids = new Set(point.ids);
  }

  learn(records: readonly KeyRecord[]): void {
    for (const { key, ids } of records) if (key === this.#point.key) for (const id of ids) this.#ids.add(id);
  }

  /** The marks of receipts name nothing but these. */
  learnReceipts(receipts: readonly Receipt[]): readonly Receipt[] {
    for (const { id, notificationId } of receipts) if (this.#ids.has(notificationId)) this.#ids.add(id);
    return receipts;
  }

  concerns(ids: readonly string[]): boolean {
    return ids.some((id) => this.#ids.has(id));
  }

  isKey(records: readonly KeyRecord[]): boolean {
    return records.some(({ key }) => key === this.#point.key);
  }

  async around<T>(name: string, concerned: boolean, run: () => Promise<T>): Promise<T> {
    if (!concerned || !this.#counts(name)) return run();
    const call = ++this.#calls;
    // Who answers without waiting for it is found out.
    if (this.#isAt(call, 'before')) await delay(MOMENT);
    this.#dieAt(call, 'before', name);
    const result = await run();
    this.#dieAt(call, 'after', name);
    return result;
  }

  aroundSync(name: string, concerned: boolean, run: () => void): void {
    if (!concerned || !this.#counts(name)) return run();
    const call = ++this.#calls;
    this.#dieAt(call, 'before', name);
    run();
    this.#dieAt(call, 'after', name);
  }

  #isAt(call: number, when: CrashPoint['when']): boolean {
    return call === this.#point.call && when === this.#point.when;
  }

  #counts(name: string): boolean {
    return this.#point.name === undefined || this.#point.name === name;
  }

  #dieAt(call: number, when: CrashPoint['when'], name: string): void {
    if (!this.#isAt(call, when)) return;
    writeSync(2, `${LAST_WORDS}${when} ${name}\n`);
    process.kill(process.pid, 'SIGKILL');
  }
}

export function crashAt(point: CrashPoint): (ports: Ports) => Ports {
  const gate = new Gate(point);
  return (ports) => ({
    storage: gatedStorage(ports.storage, gate),
    queue: gatedQueue(ports.queue, gate),
    feed: gatedFeed(ports.feed, gate),
    routes: (channel) =>
      ports.routes(channel).map((route) => ({ ...route, provider: gatedProvider(route.provider, gate) })),
  });
}

const idOf = (row: Notification): string => row.spec.id;

/** Reads and polls that concern nobody in particular pass: a crash there is one after the call before. */
function gatedStorage(storage: Storage, gate: Gate): Storage {
  const marked = <M extends { readonly id: string }>(name: string, run: (marks: readonly M[]) => Promise<void>) => {
    return (marks: readonly M[]): Promise<void> =>
      gate.around(name, gate.concerns(marks.map(({ id }) => id)), () => run(marks));
  };
  return {
    ping: () => storage.ping(),
    insert: (rows) => gate.around('insert', gate.concerns(rows.map(idOf)), () => storage.insert(rows)),
    update: (changes) =>
      gate.around('update', gate.concerns(changes.map(({ row }) => idOf(row))), () => storage.update(changes)),
    clear: marked('clear', (marks) => storage.clear(marks)),
    postpone: marked('postpone', (marks) => storage.postpone(marks)),
    find: (ids) => gate.around('find', gate.concerns(ids), () => storage.find(ids)),
    list: (query) => storage.list(query),
    due: (now, limit) => storage.due(now, limit),
    countQueued: (lane, limit) => storage.countQueued(lane, limit),
    reserveKeys: (records) =>
      gate.around('reserveKeys', gate.isKey(records), async () => {
        const inForce = await storage.reserveKeys(records);
        gate.learn(inForce);
        return inForce;
      }),
    findKey: (tenant, key, now) => storage.findKey(tenant, key, now),
    saveAttachments: (id, files) =>
      gate.around('saveAttachments', gate.concerns([id]), () => storage.saveAttachments(id, files)),
    loadAttachments: (id) => gate.around('loadAttachments', gate.concerns([id]), () => storage.loadAttachments(id)),
    readLimit: (name) => storage.readLimit(name),
    swapLimit: (name, expected, next) => storage.swapLimit(name, expected, next),
    saveReceipts: (stored) => {
      const receipts = gate.learnReceipts(stored.map(({ receipt }) => receipt));
      const concerned = gate.concerns(receipts.map(({ id }) => id));
      return gate.around('saveReceipts', concerned, () => storage.saveReceipts(stored));
    },
    receiptsOf: async (ids) => [...gate.learnReceipts(await storage.receiptsOf(ids))],
    dueReceipts: async (now, limit) => [...gate.learnReceipts(await storage.dueReceipts(now, limit))],
    markReceipts: marked('markReceipts', (marks) => storage.markReceipts(marks)),
    deleteReceipts: (before, limit) => storage.deleteReceipts(before, limit),
    addSuppressions: (suppressions) => storage.addSuppressions(suppressions),
    findSuppressions: (hashes) => storage.findSuppressions(hashes),
    listSuppressions: (query) => storage.listSuppressions(query),
    removeSuppressions: (match) => storage.removeSuppressions(match),
    sharedSecret: (name, candidate) => storage.sharedSecret(name, candidate),
    acquireLease: (name, holder, now, until) => storage.acquireLease(name, holder, now, until),
    releaseLease: (name, holder) => storage.releaseLease(name, holder),
    eraseContent: (above, below, before, limit) => storage.eraseContent(above, below, before, limit),
    deleteRows: (below, before, limit) => storage.deleteRows(below, before, limit),
    deleteKeys: (now, limit) => storage.deleteKeys(now, limit),
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  };
}

function gatedQueue(queue: Queue, gate: Gate): Queue {
  const gated = (job: Job): Job => ({
    hint: job.hint,
    deliveries: job.deliveries,
    answer: (answer) => gate.aroundSync('answer', gate.concerns([job.hint.id]), () => job.answer(answer)),
  });
  return {
    ping: () => queue.ping(),
    publish: (hints) => gate.around('publish', gate.concerns(hints.map(({ id }) => id)), () => queue.publish(hints)),
    consume(lane, options) {
      const onJobs = (jobs: readonly Job[]): void => {
        const concerned = gate.concerns(jobs.map(({ hint }) => hint.id));
        gate.aroundSync('onJobs', concerned, () => options.onJobs(jobs.map(gated)));
      };
      queue.consume(lane, { ...options, onJobs });
    },
    firstUndelivered: (lane) => queue.firstUndelivered(lane),
    [Symbol.asyncDispose]: () => queue[Symbol.asyncDispose](),
  };
}

function gatedFeed(feed: Feed, gate: Gate): Feed {
  return {
    get id() {
      return feed.id;
    },
    get lastSeen() {
      return feed.lastSeen;
    },
    append: (events) =>
      gate.around('append', gate.concerns(events.map(({ notificationId }) => notificationId)), () =>
        feed.append(events),
      ),
    bounds: () => feed.bounds(),
    read: (after, through, filter, limit) => feed.read(after, through, filter, limit),
    subscribe: (listener, signal) => feed.subscribe(listener, signal),
    [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose](),
  };
}

function gatedProvider(provider: Provider, gate: Gate): Provider {
  return {
    name: provider.name,
    channel: provider.channel,
    send: (message, call) =>
      gate.around('send', gate.concerns([message.notificationId]), () => provider.send(message, call)),
    ...(provider.receive && { receive: provider.receive }),
    [Symbol.asyncDispose]: () => provider[Symbol.asyncDispose](),
  };
}
