import { randomUUID } from 'node:crypto';
import { Code, ConnectError } from '@connectrpc/connect';
import { expect } from 'chai';
import { Channel, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { WatchNotificationsResponse } from '../../gen/carillon/v1/notification_service_pb.js';
import { ErrorInfoSchema } from '../../gen/google/rpc/errors_pb.js';
import type { Feed, FeedEvent } from '../../src/feed/feed.ts';
import type { Ports } from '../../src/service.ts';
import type { PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { anEvent } from '../support/sample.ts';
import { onlyId, TestCarillon } from '../support/start-carillon.ts';
import { inApp, mail, RECIPIENT } from './samples.ts';

interface Step {
  readonly id: string;
  readonly version: number;
  readonly token: string;
}

export function watching(rig: PairRig): void {
  let carillon: TestCarillon;
  let feed: Feed;

  before(async () => {
    const decorate = (ports: Ports): Ports => {
      ({ feed } = ports);
      return ports;
    };
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), decorate }));
  });

  /** The changes that a watch tells, up to one that `isLast` accepts. */
  async function steps(
    watch: AsyncIterable<WatchNotificationsResponse>,
    isLast: (step: Step, status: Status) => boolean,
  ): Promise<Step[]> {
    const seen: Step[] = [];
    for await (const { event, token } of watch) {
      if (!event) continue;
      const step = { id: event.notificationId, version: Number(event.version), token };
      seen.push(step);
      if (isLast(step, event.status)) return seen;
    }
    throw new Error('the watch ended before the last step');
  }

  it('the first message says that the watch stands, and what is sent after it is seen', async () => {
    const watch = carillon.client.watchNotifications({})[Symbol.asyncIterator]();
    const first = await watch.next();
    expect(first.value?.event).to.equal(undefined);
    expect(first.value?.token).not.to.equal('');
    const id = await carillon.sendOne(inApp());
    const second = await watch.next();
    expect(second.value?.event).to.include({ notificationId: id, version: 1n, status: Status.QUEUED });
    await watch.return?.();
  });

  it('resuming from the token of any step misses nothing and repeats nothing', async () => {
    const sent = await carillon.send(inApp());
    const id = onlyId(sent);
    await carillon.until(id, Status.SENT);
    const last = (_step: Step, status: Status) => status === Status.SENT;
    const from = (afterToken: string) =>
      steps(carillon.client.watchNotifications({ afterToken, notificationIds: [id] }), last);
    const all = await from(sent.watchToken);
    expect(all.map(({ version }) => version)).to.deep.equal([1, 2, 3]);
    expect(await from(all[0]?.token ?? '')).to.deep.equal(all.slice(1));
    expect(await from(all[1]?.token ?? '')).to.deep.equal(all.slice(2));
  });

  it('a watcher that catches up while sending goes on sees every version of every notification', async () => {
    const recipient = { ...RECIPIENT, id: randomUUID() };
    const { watchToken } = await carillon.send(inApp({ recipient }));
    const requests = Array.from({ length: 40 }, () => ({ notification: inApp({ recipient }) }));
    const sending = carillon.client.batchSendNotifications({ requests });
    const watch = carillon.client.watchNotifications({ afterToken: watchToken, recipientId: recipient.id });
    let ended = 0;
    const seen = await steps(watch, (_step, status) => status === Status.SENT && (ended += 1) === 41);
    await sending;
    const byId = Map.groupBy(seen, ({ id }) => id);
    expect(byId.size).to.equal(41);
    for (const of of byId.values()) expect(of.map(({ version }) => version)).to.deep.equal([1, 2, 3]);
  });

  it('a watch is narrowed by id, by group and by recipient', async () => {
    const recipient = { ...RECIPIENT, id: randomUUID() };
    const both = await carillon.send(mail({ recipient, channels: [Channel.IN_APP, Channel.EMAIL] }));
    const other = await carillon.send(inApp({ recipient: { id: randomUUID() } }));
    await carillon.until(onlyId(other), Status.SENT);
    const [first, second] = both.notifications.map(({ id }) => id);
    const seenBy = async (filter: object, count: number): Promise<Set<string>> => {
      let ended = 0;
      const watch = carillon.client.watchNotifications({ ...filter, afterToken: both.watchToken });
      const seen = await steps(watch, (_step, status) => status === Status.SENT && (ended += 1) === count);
      return new Set(seen.map(({ id }) => id));
    };
    expect(await seenBy({ notificationIds: [first?.toUpperCase()] }, 1)).to.deep.equal(new Set([first]));
    expect(await seenBy({ groupId: both.groupId }, 2)).to.deep.equal(new Set([first, second]));
    expect(await seenBy({ recipientId: recipient.id }, 2)).to.deep.equal(new Set([first, second]));
  });

  const foreign = Buffer.from('1.another-feed').toString('base64url');
  for (const [name, afterToken] of [
    ['of another feed', foreign],
    ['of no feed', 'nonsense'],
  ] as const) {
    it(`a token ${name} is OUT_OF_RANGE, never a silent gap`, async () => {
      const failure = await failureOf(carillon.client.watchNotifications({ afterToken }));
      expect(failure).to.include({ code: Code[Code.OutOfRange], reason: 'WATCH_TOKEN_OUT_OF_RANGE' });
    });
  }

  it('a slow watcher is cut off with the token to go on from, while others and delivery go on', async () => {
    const groupId = randomUUID();
    const slow = carillon.connect('gRPC').watchNotifications({ groupId })[Symbol.asyncIterator]();
    await slow.next();
    await flood(feed, groupId, 6_000);
    await carillon.until(await carillon.sendOne(inApp()), Status.SENT);

    const seen: number[] = [];
    const error = await drain(slow, seen);
    expect(error.code).to.equal(Code.ResourceExhausted);
    const [info] = error.findDetails(ErrorInfoSchema);
    expect(info?.reason).to.equal('WATCHER_TOO_SLOW');
    expect(seen.length).to.be.below(6_000);
    const rest = carillon.client.watchNotifications({ groupId, afterToken: info?.metadata['token'] ?? '' });
    for (const { version } of await steps(rest, (step) => step.version === 6_000)) seen.push(version);
    expect(seen).to.deep.equal(Array.from({ length: 6_000 }, (_, n) => n + 1));
  });
}

export function endOfMemory(rig: PairRig): void {
  it('a token from before the oldest event is OUT_OF_RANGE', async () => {
    let forgets = false;
    await using carillon = await TestCarillon.start({
      store: await rig.store(),
      decorate: (ports) => ({ ...ports, feed: forgetful(ports.feed, () => forgets) }),
    });
    const { watchToken, notifications } = await carillon.send(inApp());
    await carillon.until(notifications[0]?.id ?? '', Status.SENT);
    await carillon.eventsAfter(watchToken, ({ status }) => status === Status.SENT);
    forgets = true;
    const failure = await failureOf(carillon.client.watchNotifications({ afterToken: watchToken }));
    expect(failure).to.include({ code: Code[Code.OutOfRange], reason: 'WATCH_TOKEN_OUT_OF_RANGE' });
  });
}

/** Stores events as the pipeline does, in the caller's tenant, with versions from 1 up. */
async function flood(feed: Feed, groupId: string, count: number): Promise<void> {
  const events: FeedEvent[] = Array.from({ length: count }, (_, n) => anEvent({ groupId, version: n + 1 }));
  for (let at = 0; at < count; at += 500) await feed.append(events.slice(at, at + 500));
}

/** Reads to the end, which has to be an error. */
async function drain(watch: AsyncIterator<WatchNotificationsResponse>, seen: number[]): Promise<ConnectError> {
  try {
    for (;;) {
      const { done, value } = await watch.next();
      if (done) throw new Error('the watch ended without an error');
      seen.push(Number(value.event?.version));
    }
  } catch (thrown) {
    return ConnectError.from(thrown);
  }
}

/** The same feed, with everything up to now forgotten once `forgets`. */
function forgetful(feed: Feed, forgets: () => boolean): Feed {
  return {
    id: feed.id,
    get lastSeen() {
      return feed.lastSeen;
    },
    append: (events) => feed.append(events),
    bounds: async () => {
      const { first, last } = await feed.bounds();
      return { first: forgets() ? last + 1 : first, last };
    },
    read: (after, through, filter, limit) => feed.read(after, through, filter, limit),
    subscribe: (listener, signal) => feed.subscribe(listener, signal),
    [Symbol.asyncDispose]: () => feed[Symbol.asyncDispose](),
  };
}
