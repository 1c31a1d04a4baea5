/**
 * Judges the service from outside: by what callers and the vendor were answered, what the vendor received and what a watcher
 * saw, held against the rows as the API tells them. Pure; each fault is one sentence.
 */
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { Outcome, Reason, ReceiptKind, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { Attempt, Notification, Receipt } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult } from '../../gen/carillon/v1/notification_service_pb.js';
import { HELD, TAKEN } from '../support/crash-plans.ts';
import { receiptId } from '../support/crash-vendor.ts';
import type { Received } from '../support/crash-vendor.ts';
import type { Order } from './orders.ts';
import type { Seen } from './watcher.ts';

export interface Evidence {
  readonly accepted: ReadonlyMap<string, Order>;
  readonly cancels: ReadonlyMap<string, CancelResult>;
  /** The vendor's reports that were answered 200, by the receipt's id. */
  readonly acknowledged: ReadonlyMap<string, Received>;
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
const isSent = (status: Status): boolean => status === Status.SENT || status === Status.DELIVERED;
const msOf = (at: Timestamp | undefined): number => (at ? timestampMs(at) : 0);

export function judge({ accepted, cancels, acknowledged, received, seen, rows }: Evidence): Verdict {
  const calls = Map.groupBy(received, ({ id }) => id);
  const reports = Map.groupBy(acknowledged.values(), ({ id }) => id);
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
      ...callsAfterReceipts(row, made),
      ...truthOfReceipts(row, made, reports.get(row.id) ?? []),
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

/** The API tells a receipt without its id; the vendor's code has the part that is missing. */
const idOf = ({ provider, code }: Receipt): string => receiptId({ provider, key: code });

const hasReceipt = ({ receipt }: { readonly receipt: ReceiptKind }): boolean => receipt !== ReceiptKind.UNSPECIFIED;

/**
 * Once a report has proved that a target was reached, nobody is called for it. A worker that had lost its lease before may
 * come too late to know it.
 */
function callsAfterReceipts(row: Notification, calls: readonly Received[]): string[] {
  const steps = row.history.filter(hasReceipt);
  return row.receipts.flatMap((receipt, index) => {
    const target = calls.find((call) => receiptId(call) === idOf(receipt))?.target;
    const step = steps[index];
    const at = step ? msOf(step.at) : Infinity;
    const wasUnderWay = (call: Received): boolean =>
      msOf(attemptOf(row, call)?.startedAt) <= at && wasUnknown(row, call);
    const late = calls.filter((call) => call.target === target && call.at > at && !wasUnderWay(call));
    return late.map(({ run }) => `was sent to target ${target} in run ${run} after a receipt had closed it`);
  });
}

/** No report that was acknowledged is lost, none is applied twice or made up, and the row is what they make of it. */
function truthOfReceipts(row: Notification, calls: readonly Received[], acknowledged: readonly Received[]): string[] {
  const known = Map.groupBy(row.receipts, idOf);
  const lost = acknowledged.filter((call) => !known.has(receiptId(call)));
  const faults = lost.map(({ target }) => `has lost the receipt of target ${target}, which was acknowledged`);
  for (const [id, { length }] of known) {
    if (length > 1) faults.push(`has the receipt ${id} ${length} times`);
    const call = calls.find((one) => TAKEN.has(one.answer) && receiptId(one) === id);
    if (!call) faults.push(`has the receipt ${id}, which the vendor did not give`);
    else if (row.targets[call.target]?.outcome !== Outcome.SENT) {
      faults.push(`has the receipt of target ${call.target}, which does not count as sent`);
    }
  }
  const steps = row.history.filter(hasReceipt).length;
  if (steps !== row.receipts.length) faults.push(`has ${row.receipts.length} receipts and tells ${steps} of them`);
  if ((row.status === Status.DELIVERED) !== isProven(row)) {
    faults.push(`is ${Status[row.status]}, which its receipts do not bear out`);
  }
  return faults;
}

/** The report of an only target proves the whole; of several, one that came while others were open proves its own alone. */
function isProven({ targets, receipts, history }: Notification): boolean {
  if (targets.length === 1) return receipts.length > 0;
  const sent = history.findIndex(({ status }) => status === Status.SENT);
  return sent >= 0 && history.slice(sent).some(hasReceipt);
}

/** Nothing counts as sent that the vendor did not take, and nothing that it took counts as failed without a doubt. */
function truthOfTargets(row: Notification, calls: readonly Received[]): string[] {
  const proven = new Set(row.receipts.map(idOf));
  const faults = row.targets.flatMap(({ outcome }, target) => {
    const mine = calls.filter((call) => call.target === target);
    const taken = mine.filter(({ answer }) => answer === 'sent');
    if (outcome === Outcome.SENT) {
      const isReported = mine.some((call) => proven.has(receiptId(call)));
      return taken.length > 0 || isReported ? [] : [`target ${target} counts as sent and is not`];
    }
    return taken.every((call) => wasUnknown(row, call)) ? [] : [`target ${target} was sent and does not count as sent`];
  });
  const anySent = row.targets.some(({ outcome }) => outcome === Outcome.SENT);
  // SENT, and later DELIVERED, is what has no open target and one that was taken; given up with one open, it says why.
  const anyOpen = row.targets.some(({ outcome }) => outcome === Outcome.UNSPECIFIED);
  if (isSent(row.status) !== (anySent && !anyOpen)) {
    faults.push(`is ${Status[row.status]}, which its targets are not`);
  }
  return faults;
}

function truthOfCancel({ status, reason }: Notification, answer: CancelResult | undefined): string[] {
  const byCaller = status === Status.CANCELLED && reason === Reason.CANCELLED_BY_CALLER;
  const asked = answer === CancelResult.CANCELLED || answer === CancelResult.REQUESTED;
  // A provider may have taken it before; that it did can come to light later.
  if (asked && !byCaller && !isSent(status)) return [`was cancelled by its caller and is ${Status[status]}`];
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
    if (!step) continue;
    const what = `version ${event.version} was told as`;
    if (step.status !== event.status || step.reason !== event.reason) {
      faults.push(`${what} ${Status[event.status]} and is ${Status[step.status]} in the row`);
    }
    if (step.receipt !== event.receipt) {
      faults.push(`${what} ${ReceiptKind[event.receipt]} and is ${ReceiptKind[step.receipt]} in the row`);
    }
  }
  if (last !== Number(version)) faults.push(`the watcher saw version ${last} of ${version}`);
  return faults;
}
