/** The judge is what the crash suite rests on: here it finds every kind of fault, and none where there is none. */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect } from 'chai';
import { Channel, NotificationSchema, Outcome, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { Notification } from '../../gen/carillon/v1/notification_pb.js';
import { CancelResult } from '../../gen/carillon/v1/notification_service_pb.js';
import type { PlanName, VendorAnswer } from '../support/crash-plans.ts';
import type { Received } from '../support/crash-vendor.ts';
import { judge } from './judge.ts';
import type { Evidence } from './judge.ts';
import { order } from './orders.ts';
import type { Seen } from './watcher.ts';

const ID = '019a0000-0000-7000-8000-000000000000';
const CLAIMED_AT = [200, 400];

type Step = readonly [status: Status, at: number, reason?: Reason];

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

/** A row with such a history, and an attempt for each of the outcomes. */
function row(steps: readonly Step[], outcomes: readonly Outcome[]): Notification {
  const [status, , reason = Reason.UNSPECIFIED] = steps.at(-1) ?? [Status.UNSPECIFIED, 0];
  const last = outcomes.at(-1);
  return create(NotificationSchema, {
    id: ID,
    type: 'sent',
    status,
    reason,
    version: BigInt(steps.length),
    targets: [{ address: 'a', ...(last === Outcome.SENT && { outcome: last }) }],
    attempts: outcomes.map((outcome, index) => ({
      run: 1,
      number: index + 1,
      provider: 'first',
      startedAt: timestampFromMs(CLAIMED_AT[index] ?? 0),
      endedAt: timestampFromMs((CLAIMED_AT[index] ?? 0) + 50),
      results: [{ target: 0, outcome }],
    })),
    history: steps.map(([status, at, reason], index) => ({
      version: BigInt(index + 1),
      status,
      at: timestampFromMs(at),
      ...(reason !== undefined && { reason }),
    })),
  });
}

const call = (at: number, answer: VendorAnswer): Received => ({
  number: 1,
  id: ID,
  type: 'sent',
  to: 'a',
  key: 'k',
  provider: 'first',
  at,
  target: 0,
  run: 1,
  answer,
});

const seenOf = ({ history }: Notification): Seen[] =>
  history.map(({ version, status, reason }) => ({ version: Number(version), status, reason }));

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
    received,
    seen: new Map([[ID, seen]]),
    rows: [row],
    ...more,
  }).faults;
}

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

  it('finds an event that tells another status than the row', () => {
    const seen = seenOf(sentOnce).map((event) => ({ ...event, status: Status.QUEUED }));
    expect(faultsOf({ row: sentOnce, received: [call(210, 'sent')], seen })).to.have.length(2);
  });
});
