/**
 * Judges the service from outside: by what callers were answered, what the vendor received and what a watcher saw, held
 * against the rows as the API tells them. Pure; each fault is one sentence.
 */
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { Outcome, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { Attempt, Notification } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult } from '../../gen/carillon/v1/notification_service_pb.js';
import { HELD, TAKEN } from '../support/crash-plans.ts';
import type { Received } from '../support/crash-vendor.ts';
import type { Order } from './orders.ts';
import type { Seen } from './watcher.ts';

export interface Evidence {
  readonly accepted: ReadonlyMap<string, Order>;
  readonly cancels: ReadonlyMap<string, CancelResult>;
  readonly received: readonly Received[];
  readonly seen: ReadonlyMap<string, readonly Seen[]>;
  readonly rows: readonly Notification[];
}

export interface Verdict {
  readonly faults: readonly string[];
  readonly byStatus: Readonly<Record<string, number>>;
  /** Times a vendor may have taken a message that it may have taken before; each is explained, or a fault. */
  readonly duplicates: number;
  /** Provider calls whose worker never told what came of them. */
  readonly lostWorkers: number;
  /** From acceptance to the end, the service's seconds. */
  readonly slowestSeconds: number;
}

const WAITING: ReadonlySet<Status> = new Set([Status.PENDING, Status.QUEUED, Status.PROCESSING]);

const isFinal = (status: Status): boolean => !WAITING.has(status);
const msOf = (at: Timestamp | undefined): number => (at ? timestampMs(at) : 0);

export function judge({ accepted, cancels, received, seen, rows }: Evidence): Verdict {
  const calls = Map.groupBy(received, ({ id }) => id);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const faults = [...accepted.keys()].filter((id) => !byId.has(id)).map((id) => `${id} was accepted and is lost`);
  let duplicates = 0;
  for (const row of rows) {
    const order = accepted.get(row.id);
    const made = calls.get(row.id) ?? [];
    const repeats = judgeCalls(row, made, order ? HELD.has(order.plan) : false);
    duplicates += repeats.duplicates;
    const found = [
      ...(order ? [] : ['exists and no caller knows of it']),
      ...(isFinal(row.status) ? [] : [`ended as ${Status[row.status]}`]),
      ...repeats.faults,
      ...callsAfterTheEnd(row, made),
      ...truthOfTargets(row, made),
      ...truthOfCancel(row, cancels.get(row.id)),
      ...judgeWatch(row, seen.get(row.id) ?? []),
    ];
    faults.push(...found.map((fault) => `${row.id} (${order?.key}, ${row.type}) ${fault}`));
  }
  return {
    faults,
    byStatus: Object.fromEntries([...Map.groupBy(rows, nameOf)].map(([name, group]) => [name, group.length])),
    duplicates,
    lostWorkers: rows.flatMap(({ attempts }) => attempts).filter(isLost).length,
    slowestSeconds: Math.max(0, ...rows.map(secondsToTheEnd)),
  };
}

const nameOf = ({ status, reason }: Notification): string =>
  reason === Reason.UNSPECIFIED ? Status[status] : `${Status[status]} ${Reason[reason]}`;

const isLost = ({ results }: Attempt): boolean => results.some(({ responseCode }) => responseCode === 'worker_lost');

function secondsToTheEnd({ history, createdAt, dueAt, scheduledFor }: Notification): number {
  const end = history.find(({ status }) => isFinal(status));
  return end ? (msOf(end.at) - Math.max(msOf(createdAt), msOf(scheduledFor ?? dueAt ?? createdAt))) / 1_000 : 0;
}

/** The entry of the row that the vendor's call belongs to. */
function attemptOf(row: Notification, call: Received): Attempt | undefined {
  return row.attempts.findLast(
    ({ run, provider, startedAt }) => run === call.run && provider === call.provider && msOf(startedAt) <= call.at,
  );
}

/** True where the service could not know what the call came to when it went on; a late answer stands behind that. */
function wasUnknown(row: Notification, call: Received): boolean {
  const results = attemptOf(row, call)?.results ?? [];
  return results.some(({ target, outcome }) => target === call.target && outcome === Outcome.UNKNOWN);
}

/** After the vendor took a message, it is called again only where its answer was not known. */
function judgeCalls(
  row: Notification,
  calls: readonly Received[],
  held: boolean,
): { readonly faults: readonly string[]; readonly duplicates: number } {
  const faults: string[] = [];
  let duplicates = 0;
  for (const group of Map.groupBy(calls, ({ target, run }) => `target ${target} in run ${run}`).values()) {
    const repeated = group.slice(0, -1).filter(({ answer }) => TAKEN.has(answer));
    duplicates += repeated.length;
    for (const call of repeated) {
      const { target, run, answer } = call;
      const what = `was sent again to target ${target} in run ${run} after the vendor had it (${answer})`;
      if (!wasUnknown(row, call)) faults.push(`${what}, though the answer was known`);
      if (held) faults.push(`${what}, though it was to be held`);
    }
  }
  return { faults, duplicates };
}

/** When each run came to its end, first. */
function endsOfRuns({ history }: Notification): Map<number, number> {
  const ends = new Map<number, number>();
  let run = 1;
  let before = Status.UNSPECIFIED;
  for (const { status, at } of history) {
    if (before === Status.FAILED && status === Status.QUEUED) run++;
    if (isFinal(status) && !ends.has(run)) ends.set(run, msOf(at));
    before = status;
  }
  return ends;
}

function callsAfterTheEnd(row: Notification, calls: readonly Received[]): string[] {
  const ends = endsOfRuns(row);
  const late = calls.filter((call) => call.at > (ends.get(call.run) ?? Infinity) && !wasUnknown(row, call));
  return late.map(({ target, run }) => `was sent to target ${target} after run ${run} had ended`);
}

/** Nothing counts as sent that the vendor did not take, and nothing that it took counts as failed without a doubt. */
function truthOfTargets(row: Notification, calls: readonly Received[]): string[] {
  const faults = row.targets.flatMap(({ outcome }, target) => {
    const taken = calls.filter((call) => call.target === target && call.answer === 'sent');
    if (outcome === Outcome.SENT) return taken.length > 0 ? [] : [`target ${target} counts as sent and is not`];
    return taken.every((call) => wasUnknown(row, call)) ? [] : [`target ${target} was sent and does not count as sent`];
  });
  const anySent = row.targets.some(({ outcome }) => outcome === Outcome.SENT);
  // SENT is what has no open target and one that was taken; given up with one still open, it says why.
  const anyOpen = row.targets.some(({ outcome }) => outcome === Outcome.UNSPECIFIED);
  if ((row.status === Status.SENT) !== (anySent && !anyOpen)) {
    faults.push(`is ${Status[row.status]}, which its targets are not`);
  }
  return faults;
}

function truthOfCancel({ status, reason }: Notification, answer: CancelResult | undefined): string[] {
  const byCaller = status === Status.CANCELLED && reason === Reason.CANCELLED_BY_CALLER;
  const asked = answer === CancelResult.CANCELLED || answer === CancelResult.REQUESTED;
  // A provider may have taken it before; that it did can come to light later.
  if (asked && !byCaller && status !== Status.SENT) return [`was cancelled by its caller and is ${Status[status]}`];
  return byCaller && !asked ? ['is cancelled and its caller was not told so'] : [];
}

/** Every version, each for the first time in its order, and each as the row's history tells it. */
function judgeWatch({ version, history }: Notification, seen: readonly Seen[]): string[] {
  const faults: string[] = [];
  const told = new Map(history.map((step) => [Number(step.version), step]));
  let last = 0;
  for (const event of seen) {
    if (event.version > last + 1) faults.push(`version ${event.version} reached the watcher after ${last}`);
    last = Math.max(last, event.version);
    const step = told.get(event.version);
    if (step && (step.status !== event.status || step.reason !== event.reason)) {
      faults.push(
        `version ${event.version} was ${Status[event.status]} to the watcher, ${Status[step.status]} in the row`,
      );
    }
  }
  if (last !== Number(version)) faults.push(`the watcher saw version ${last} of ${version}`);
  return faults;
}
