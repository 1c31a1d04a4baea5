/** The judge is what the crash suite rests on: here it finds every kind of fault, and none where there is none. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect } from 'chai';
import {
  Channel,
  NotificationSchema,
  Outcome,
  Reason,
  ReceiptKind,
  Status,
  TargetSchema,
} from '../../gen/carillon/v1/notification_pb.js';
import type { Notification } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult } from '../../gen/carillon/v1/notification_service_pb.js';
import type { PlanName, VendorAnswer } from '../support/crash-plans.ts';
import { receiptId } from '../support/crash-vendor.ts';
import type { Received } from '../support/crash-vendor.ts';
import { judge } from './judge.ts';
import type { Evidence } from './judge.ts';
import { order } from './orders.ts';
import type { Seen } from './watcher.ts';

const ID = '019a0000-0000-7000-8000-000000000000';
const CLAIMED_AT = [200, 400];

type Step = readonly [status: Status, at: number, reason?: Reason, receipt?: ReceiptKind];

const SENT: readonly Step[] = [
  [Status.QUEUED, 100],
  [Status.PROCESSING, 200],
  [Status.SENT, 300],
];
const SENT_ON_RETRY: readonly Step[] = [
  [Status.QUEUED, 100],
  [Status.PROCESSING, 200],
  [Status.PENDING, 300, Reason.RETRYING],
  [Status.PROCESSING, 400],
  [Status.SENT, 500],
];

/** A row with such a history, its receipts, and an attempt for each of the outcomes. */
function row(steps: readonly Step[], outcomes: readonly Outcome[]): Notification {
  const [status, , reason = Reason.UNSPECIFIED] = steps.at(-1) ?? [Status.UNSPECIFIED, 0];
  const receipts = steps.flatMap(([, , , kind]) =>
    kind === undefined ? [] : [{ provider: 'first', kind, code: 'k' }],
  );
  const isTaken = outcomes.at(-1) === Outcome.SENT || receipts.length > 0;
  return create(NotificationSchema, {
    id: ID,
    type: 'sent',
    status,
    reason,
    version: BigInt(steps.length),
    targets: [{ address: 'a', ...(isTaken && { outcome: Outcome.SENT }) }],
    attempts: outcomes.map((outcome, index) => ({
      run: 1,
      number: index + 1,
      provider: 'first',
      startedAt: timestampFromMs(CLAIMED_AT[index] ?? 0),
      endedAt: timestampFromMs((CLAIMED_AT[index] ?? 0) + 50),
      results: [{ target: 0, outcome }],
    })),
    history: steps.map(([status, at, reason, receipt], index) => ({
      version: BigInt(index + 1),
      status,
      at: timestampFromMs(at),
      ...(reason !== undefined && { reason }),
      ...(receipt !== undefined && { receipt }),
    })),
    receipts,
  });
}

const call = (at: number, answer: VendorAnswer, target = 0): Received => ({
  number: 1,
  id: ID,
  type: 'sent',
  to: 'a',
  key: target === 0 ? 'k' : `k${target}`,
  provider: 'first',
  at,
  target,
  run: 1,
  answer,
});

const seenOf = ({ history }: Notification): Seen[] =>
  history.map(({ version, status, reason, receipt }) => ({ version: Number(version), status, reason, receipt }));

interface Case {
  readonly row: Notification;
  readonly received?: readonly Received[];
  readonly seen?: readonly Seen[];
  readonly plan?: PlanName;
  readonly more?: Partial<Evidence>;
}

function faultsOf({ row, received = [], seen = seenOf(row), plan = 'sent', more }: Case): readonly string[] {
  return judge({
    accepted: new Map([[ID, order('n1', { plan, channels: [Channel.EMAIL] })]]),
    cancels: new Map(),
    acknowledged: new Map(),
    received,
    seen: new Map([[ID, seen]]),
    rows: [row],
    ...more,
  }).faults;
}

/** Evidence that these calls' reports were answered 200. */
const acknowledged = (...calls: readonly Received[]): Pick<Evidence, 'acknowledged'> => ({
  acknowledged: new Map(calls.map((one) => [receiptId(one), one])),
});

const REPORTED: Step = [Status.DELIVERED, 600, Reason.UNSPECIFIED, ReceiptKind.DELIVERED];
const PROVED_AT_450: readonly Step[] = [
  [Status.SENT, 450],
  [Status.DELIVERED, 450, Reason.UNSPECIFIED, ReceiptKind.DELIVERED],
];
const delivered = row([...SENT, REPORTED], [Outcome.SENT]);
/** The answer was lost, and the report came before the next try, which takes place all the same. */
const PROVEN = row(
  [
    ...SENT_ON_RETRY.slice(0, 3),
    [Status.SENT, 350],
    [Status.DELIVERED, 350, Reason.UNSPECIFIED, ReceiptKind.DELIVERED],
  ],
  [Outcome.UNKNOWN, Outcome.UNKNOWN],
);

/** Its first target was closed by a report while the second was open. */
function ofTwo(): Notification {
  const first: Step = [Status.PENDING, 350, Reason.RETRYING, ReceiptKind.DELIVERED];
  const several = row(
    [...SENT_ON_RETRY.slice(0, 3), first, ...SENT_ON_RETRY.slice(3)],
    [Outcome.UNKNOWN, Outcome.UNKNOWN],
  );
  several.targets.push(create(TargetSchema, { address: 'b', outcome: Outcome.SENT }));
  return several;
}

const taken = call(210, 'sent');

const sentOnce = row(SENT, [Outcome.SENT]);
const sentTwice = row(SENT_ON_RETRY, [Outcome.UNKNOWN, Outcome.SENT]);

describe('the judge of the crash suite', () => {
  it('finds nothing where a notification was sent once', () => {
    expect(faultsOf({ row: sentOnce, received: [call(210, 'sent')] })).to.deep.equal([]);
  });

  it('allows a second call after an unknown outcome', () => {
    expect(faultsOf({ row: sentTwice, received: [call(210, 'sent'), call(410, 'sent')] })).to.deep.equal([]);
  });

  it('allows a second call where the answer came late, behind the unknown that it was for a while', () => {
    const late = row(SENT_ON_RETRY, [Outcome.UNKNOWN, Outcome.SENT]);
    const told = late.attempts[0]?.results[0];
    if (!told) throw new Error('the first attempt has a result');
    late.attempts[0]?.results.push({ ...told, outcome: Outcome.SENT });
    expect(faultsOf({ row: late, received: [call(210, 'sent'), call(410, 'sent')] })).to.deep.equal([]);
  });

  it('finds an accepted notification that is lost', () => {
    expect(faultsOf({ row: sentOnce, more: { rows: [] } })).to.have.length(1);
  });

  it('finds a notification that nobody was told of', () => {
    const faults = faultsOf({ row: sentOnce, received: [call(210, 'sent')], more: { accepted: new Map() } });
    expect(faults).to.have.length(1);
  });

  it('finds a notification that never ends', () => {
    expect(faultsOf({ row: row(SENT.slice(0, 2), []) })).to.have.length(1);
  });

  it('finds a second call though the first was known to be taken', () => {
    const known = row(SENT_ON_RETRY, [Outcome.TEMPORARY_FAILURE, Outcome.SENT]);
    expect(faultsOf({ row: known, received: [call(210, 'lost'), call(410, 'sent')] })).to.have.length(1);
  });

  it('finds a second call of one that was to be held', () => {
    const received = [call(210, 'lost'), call(410, 'sent')];
    expect(faultsOf({ row: sentTwice, received, plan: 'answer.lost.hold' })).to.have.length(1);
  });

  it('finds a call after the end', () => {
    expect(faultsOf({ row: sentOnce, received: [call(210, 'busy'), call(310, 'sent')] })).to.have.length(1);
  });

  it('finds one that counts as sent though nobody took it', () => {
    expect(faultsOf({ row: sentOnce, received: [call(210, 'busy')] })).to.have.length(1);
  });

  it('finds one that counts as failed though it was taken for sure', () => {
    const failed = row([...SENT.slice(0, 2), [Status.FAILED, 300, Reason.REJECTED]], [Outcome.PERMANENT_FAILURE]);
    expect(faultsOf({ row: failed, received: [call(210, 'sent')] })).to.have.length(1);
  });

  it('finds a status that its targets do not bear out', () => {
    const failed = row([...SENT.slice(0, 2), [Status.FAILED, 300, Reason.REJECTED]], [Outcome.SENT]);
    expect(faultsOf({ row: failed, received: [call(210, 'sent')] })).to.have.length(1);
  });

  it('finds a cancel that was answered and did not come', () => {
    const failed = row([...SENT.slice(0, 2), [Status.FAILED, 300, Reason.REJECTED]], [Outcome.PERMANENT_FAILURE]);
    const more = { cancels: new Map([[ID, CancelResult.REQUESTED]]) };
    expect(faultsOf({ row: failed, received: [call(210, 'rejected')], more })).to.have.length(1);
  });

  for (const [what, pick] of [
    ['was left out', [1, 3]],
    ['never came', [1, 2]],
    ['came before its turn', [2, 1, 2, 3]],
  ] as const) {
    it(`finds a version that ${what}`, () => {
      const all = seenOf(sentOnce);
      const seen = pick.flatMap((version) => all.filter((event) => event.version === version));
      expect(faultsOf({ row: sentOnce, received: [call(210, 'sent')], seen })).to.have.length(1);
    });
  }

  it('allows a version to come again', () => {
    const all = seenOf(sentOnce);
    const seen = [...all.slice(0, 2), ...all];
    expect(faultsOf({ row: sentOnce, received: [call(210, 'sent')], seen })).to.deep.equal([]);
  });

  it('finds an event that tells another report than the row', () => {
    const seen = seenOf(delivered).map((event) => ({ ...event, receipt: ReceiptKind.UNSPECIFIED }));
    expect(faultsOf({ row: delivered, received: [taken], seen })).to.have.length(1);
  });

  it('finds an event that tells another status than the row', () => {
    const seen = seenOf(sentOnce).map((event) => ({ ...event, status: Status.QUEUED }));
    expect(faultsOf({ row: sentOnce, received: [call(210, 'sent')], seen })).to.have.length(2);
  });
});

describe('the judge of the crash suite, about what the vendor reports', () => {
  it('finds nothing where a report was acknowledged and applied once', () => {
    expect(faultsOf({ row: delivered, received: [taken], more: acknowledged(taken) })).to.deep.equal([]);
  });

  it('finds nothing where a report was applied whose acknowledgement was lost', () => {
    expect(faultsOf({ row: delivered, received: [taken] })).to.deep.equal([]);
  });

  it('finds a report that was acknowledged and is lost', () => {
    expect(faultsOf({ row: sentOnce, received: [taken], more: acknowledged(taken) })).to.have.length(1);
  });

  it('finds a report that was applied twice', () => {
    const twice = row([...SENT, REPORTED, REPORTED], [Outcome.SENT]);
    expect(faultsOf({ row: twice, received: [taken], more: acknowledged(taken) })).to.have.length(1);
  });

  it('finds a report that no event tells', () => {
    const untold = row([...SENT, REPORTED], [Outcome.SENT]);
    for (const step of untold.history) step.receipt = ReceiptKind.UNSPECIFIED;
    expect(faultsOf({ row: untold, received: [taken], more: acknowledged(taken) })).to.have.length(1);
  });

  it('finds a report that the vendor did not give', () => {
    const foreign = row([...SENT, REPORTED], [Outcome.SENT]);
    for (const receipt of foreign.receipts) receipt.provider = 'second';
    expect(faultsOf({ row: foreign, received: [taken] })).to.have.length(1);
  });

  it('finds a report that did not make the row delivered', () => {
    const ignored = row([...SENT, [Status.SENT, 600, Reason.UNSPECIFIED, ReceiptKind.DELIVERED]], [Outcome.SENT]);
    expect(faultsOf({ row: ignored, received: [taken], more: acknowledged(taken) })).to.have.length(1);
  });

  it('finds a row that is delivered without a report', () => {
    const boasting = row([...SENT, [Status.DELIVERED, 600]], [Outcome.SENT]);
    expect(faultsOf({ row: boasting, received: [taken] })).to.have.length(1);
  });

  it('finds a report of a target that does not count as sent', () => {
    const open = row([...SENT, REPORTED], [Outcome.UNKNOWN]);
    open.targets.push(create(TargetSchema, { address: 'b', outcome: Outcome.SENT }));
    for (const target of open.targets.slice(0, 1)) target.outcome = Outcome.INVALID_RECIPIENT;
    const received = [call(210, 'lost'), call(210, 'sent', 1)];
    expect(faultsOf({ row: open, received })).to.have.length(1);
  });

  it('allows it to prove that a call was taken whose answer was lost', () => {
    const lost = call(210, 'lost');
    expect(faultsOf({ row: PROVEN, received: [lost], more: acknowledged(lost) })).to.deep.equal([]);
  });

  it('finds a call that began after it had proved the one before', () => {
    expect(faultsOf({ row: PROVEN, received: [call(210, 'lost'), call(410, 'hang')] })).to.have.length(1);
  });

  it('allows a call of a worker that had lost its lease before it was applied', () => {
    const late = row([...SENT_ON_RETRY.slice(0, 4), ...PROVED_AT_450], [Outcome.UNKNOWN, Outcome.UNKNOWN]);
    expect(faultsOf({ row: late, received: [call(210, 'lost'), call(460, 'hang')] })).to.deep.equal([]);
  });

  it('finds a call of a target that one of several had been closed by', () => {
    const several = ofTwo();
    const received = [call(210, 'lost'), call(410, 'hang'), call(410, 'sent', 1)];
    expect(faultsOf({ row: several, received })).to.have.length(1);
  });

  it('allows one of several that came while another target was open to leave the row at sent', () => {
    const lost = call(210, 'lost');
    const received = [lost, call(410, 'sent', 1)];
    expect(faultsOf({ row: ofTwo(), received, more: acknowledged(lost) })).to.deep.equal([]);
  });
});
