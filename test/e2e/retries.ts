import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { durationFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import {
  Backoff,
  Channel,
  type Notification,
  Outcome,
  Priority,
  Reason,
  Status,
  UnknownOutcomePolicy,
} from '../../gen/carillon/v1/notification_pb.js';
import { eventually } from '../support/eventually.ts';
import type { PairRig } from '../support/pairs.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { type StartedHttp, startHttp } from '../support/start-http.ts';
import { quickRetries, realWebhooks, requestsFor, sms, webhook } from './samples.ts';
import { BUSY, DOWN, LOST, Playbook, SENT, through } from './scripted-provider.ts';

/** Number, provider and answers of each attempt. */
const attemptsOf = (row: Notification): [number, string, string[]][] =>
  row.attempts.map(({ number, provider, results }) => [
    number,
    provider,
    results.map(({ outcome }) => Outcome[outcome]),
  ]);

export function retries(rig: PairRig): void {
  const playbook = new Playbook('sms');
  const devices = new Playbook('push');
  let http: StartedHttp;
  let carillon: TestCarillon;

  before(async () => {
    http = rig.owned.use(await startHttp());
    const decorate = through(...playbook.providers, ...devices.providers);
    const set = [...quickRetries, ...realWebhooks];
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set, decorate }));
  });

  it('a temporary failure is tried again until it is taken, and every attempt is listed', async () => {
    playbook.on('flaky', (_message, turn) => (turn < 3 ? BUSY : SENT));
    const { watchToken, notifications } = await carillon.send(sms({ type: 'flaky' }));
    const sent = await carillon.until(notifications[0]?.id ?? '', Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal([
      [1, 'first', ['TEMPORARY_FAILURE']],
      [2, 'first', ['TEMPORARY_FAILURE']],
      [3, 'first', ['SENT']],
    ]);
    expect(sent.attempts[0]?.results[0]?.responseCode).to.equal('451');
    const events = await carillon.eventsAfter(watchToken, ({ status }) => status === Status.SENT);
    expect(events.map(({ status, reason }) => `${Status[status]} ${Reason[reason]}`)).to.deep.equal([
      'QUEUED UNSPECIFIED',
      'PROCESSING UNSPECIFIED',
      'PENDING RETRYING',
      'PROCESSING UNSPECIFIED',
      'PENDING RETRYING',
      'PROCESSING UNSPECIFIED',
      'SENT UNSPECIFIED',
    ]);
  });

  it('a provider that is down hands over to the next one within the same attempt', async () => {
    playbook.on('down', () => DOWN);
    const sent = await carillon.until(await carillon.sendOne(sms({ type: 'down' })), Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal([
      [1, 'first', ['TEMPORARY_FAILURE']],
      [1, 'second', ['SENT']],
    ]);
    expect(sent.targets[0]?.provider).to.equal('second');
  });

  it('after an unknown outcome the same provider is asked again with the same key, and no other', async () => {
    playbook.on('lost', (_message, turn) => (turn === 1 ? LOST : SENT));
    const sent = await carillon.until(await carillon.sendOne(sms({ type: 'lost' })), Status.SENT);
    expect(attemptsOf(sent)).to.deep.equal([
      [1, 'first', ['UNKNOWN']],
      [2, 'first', ['SENT']],
    ]);
    expect(new Set(playbook.calls('lost').map(({ key }) => key)).size).to.equal(1);
    expect(playbook.calls('lost', 'second')).to.have.length(0);
  });

  it('an unknown outcome under HOLD ends as FAILED, OUTCOME_UNKNOWN and is never sent twice', async () => {
    playbook.on('code', () => LOST);
    const id = await carillon.sendOne(sms({ type: 'code', unknownOutcome: UnknownOutcomePolicy.HOLD }));
    const failed = await carillon.until(id, Status.FAILED);
    expect(failed.reason).to.equal(Reason.OUTCOME_UNKNOWN);
    expect(playbook.calls('code')).to.have.length(1);
  });

  for (const [outcome, reason] of [
    ['permanent_failure', Reason.REJECTED],
    ['invalid_recipient', Reason.INVALID_RECIPIENT],
  ] as const) {
    it(`${outcome} is FAILED, ${Reason[reason]} at once`, async () => {
      playbook.on(outcome, () => ({ outcome, code: '550' }));
      const failed = await carillon.until(await carillon.sendOne(sms({ type: outcome })), Status.FAILED);
      expect(failed.reason).to.equal(reason);
      expect(failed.attempts).to.have.length(1);
      expect(playbook.calls(outcome, 'second')).to.have.length(0);
    });
  }

  for (const [priority, attempts] of [
    [Priority.LOW, 3],
    [Priority.NORMAL, 5],
    [Priority.HIGH, 7],
    [Priority.URGENT, 10],
  ] as const) {
    it(`a ${Priority[priority]} one is given up as ATTEMPTS_EXHAUSTED after ${attempts} attempts`, async () => {
      const type = `busy-${priority}`;
      playbook.on(type, () => BUSY);
      const failed = await carillon.until(await carillon.sendOne(sms({ type, priority })), Status.FAILED);
      expect(failed.reason).to.equal(Reason.ATTEMPTS_EXHAUSTED);
      expect(playbook.calls(type)).to.have.length(attempts);
      expect(failed.attempts.map(({ number }) => number)).to.deep.equal(
        Array.from({ length: attempts }, (_, n) => n + 1),
      );
    });
  }

  it('of three devices the two that were reached get it once, and the third when it is back', async () => {
    devices.on('push', ({ to }, turn) => (to === 'token-b' && turn < 6 ? BUSY : SENT));
    const recipient = { devices: ['token-a', 'token-b', 'token-c'].map((token) => ({ token })) };
    const push = { push: { title: 'Hi', body: 'there' } };
    const id = await carillon.sendOne({ type: 'push', channels: [Channel.PUSH], recipient, content: push });
    const sent = await carillon.until(id, Status.SENT);
    expect(sent.targets.map(({ outcome }) => outcome)).to.deep.equal([Outcome.SENT, Outcome.SENT, Outcome.SENT]);
    const told = devices.calls('push').map(({ message }) => message.to);
    expect(told.toSorted()).to.deep.equal(['token-a', 'token-b', 'token-b', 'token-b', 'token-b', 'token-c']);
    const keyOf = (to: string) => new Set(devices.calls('push').flatMap((c) => (c.message.to === to ? [c.key] : [])));
    expect(keyOf('token-b').size).to.equal(1);
    expect(keyOf('token-b')).not.to.deep.equal(keyOf('token-a'));
  });

  it('a webhook follows its own policy, to the letter', async () => {
    http.react = ({ path }) => ({ status: path === '/policy' ? 500 : 200 });
    const linear = (delayMs: number) => ({
      maxAttempts: 2,
      backoff: Backoff.LINEAR,
      initialDelay: durationFromMs(delayMs),
      maxDelay: durationFromMs(2 * delayMs),
    });
    const send = (delayMs: number) =>
      carillon.sendOne(webhook(`${http.url}/policy`, { webhook: { retryPolicy: linear(delayMs) } }));
    const waiting = await carillon.untilPending(await send(600_000), Reason.RETRYING);
    const failedAt = waiting.history.at(-1)?.at;
    if (!failedAt || !waiting.dueAt) throw new Error('a step or what is due has no time');
    expect(timestampMs(waiting.dueAt) - timestampMs(failedAt)).to.equal(600_000);

    const id = await send(1_000);
    const failed = await carillon.until(id, Status.FAILED);
    expect(failed.reason).to.equal(Reason.ATTEMPTS_EXHAUSTED);
    expect(failed.attempts.map(({ results }) => results[0]?.responseCode)).to.deep.equal(['500', '500']);
    const [first, second] = failed.attempts;
    if (!first?.endedAt || !second?.startedAt) throw new Error('an attempt has no time');
    expect(timestampMs(second.startedAt) - timestampMs(first.endedAt)).to.be.at.least(1_000);
  });

  it('a 429 with Retry-After is obeyed and costs no attempt', async () => {
    let turn = 0;
    http.react = () => ((turn += 1) === 1 ? { status: 429, headers: { 'retry-after': '1' } } : { status: 200 });
    const id = await carillon.sendOne(webhook(http.url));
    const sent = await carillon.until(id, Status.SENT);
    expect(sent.history.map(({ reason }) => reason)).to.include(Reason.RATE_LIMITED);
    expect(attemptsOf(sent)).to.deep.equal([
      [1, 'http', ['RATE_LIMITED']],
      [1, 'http', ['SENT']],
    ]);
    const [first, second] = sent.attempts;
    if (!first?.endedAt || !second?.startedAt) throw new Error('an attempt has no time');
    expect(timestampMs(second.startedAt) - timestampMs(first.endedAt)).to.be.at.least(1_000);
  });

  it('a webhook without an answer is sent again under the same webhook-id', async () => {
    let turn = 0;
    http.react = () => ((turn += 1) === 1 ? 'reset' : { status: 200 });
    const id = await carillon.sendOne(webhook(http.url));
    const sent = await carillon.until(id, Status.SENT);
    expect(attemptsOf(sent).map(([, , outcomes]) => outcomes)).to.deep.equal([['UNKNOWN'], ['SENT']]);
    expect(requestsFor(http, id)).to.have.length(2);
  });
}

export function reDriving(rig: PairRig): void {
  const playbook = new Playbook('sms');
  let carillon: TestCarillon;
  let healed = false;

  before(async () => {
    const decorate = through(...playbook.providers);
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set: quickRetries, decorate }));
    playbook.on('busy', () => (healed ? SENT : BUSY));
    playbook.on('rejected', () => (healed ? SENT : { outcome: 'permanent_failure', code: '550' }));
  });

  beforeEach(() => {
    healed = false;
  });

  const failing = async (type: string, recipientId: string): Promise<string> => {
    const recipient = { id: recipientId, phone: '+15551230000' };
    const id = await carillon.sendOne(sms({ type, priority: Priority.LOW, recipient }));
    await carillon.until(id, Status.FAILED);
    return id;
  };

  it('a dry run names what would be re-driven and changes nothing', async () => {
    const id = await failing('busy', 'dry');
    const { version } = await carillon.get(id);
    const selection = { case: 'filter', value: { recipientId: 'dry' } } as const;
    const { ids } = await carillon.client.retryNotifications({ selection, dryRun: true });
    expect(ids).to.deep.equal([id]);
    expect(await carillon.get(id)).to.include({ version, status: Status.FAILED, run: 1 });
  });

  it('by ids, a FAILED one is sent in a new run with attempts from one and another key', async () => {
    const id = await failing('busy', 'ids');
    const firstKey = playbook.calls('busy').at(-1)?.key;
    healed = true;
    const { ids } = await carillon.client.retryNotifications({ selection: { case: 'ids', value: { ids: [id] } } });
    expect(ids).to.deep.equal([id]);
    const sent = await eventually('SENT', async () => {
      const row = await carillon.get(id);
      return row.status === Status.SENT && row;
    });
    expect(sent.run).to.equal(2);
    expect(sent.attempts.at(-1)).to.include({ run: 2, number: 1 });
    expect(playbook.calls('busy').at(-1)?.key).not.to.equal(firstKey);
  });

  it('by filter and reason, only what failed for that reason', async () => {
    const busy = await failing('busy', 'mixed');
    const rejected = await failing('rejected', 'mixed');
    healed = true;
    const { ids } = await carillon.client.retryNotifications({
      selection: { case: 'filter', value: { recipientId: 'mixed' } },
      reasons: [Reason.REJECTED],
    });
    expect(ids).to.deep.equal([rejected]);
    await eventually('SENT', async () => (await carillon.get(rejected)).status === Status.SENT);
    expect((await carillon.get(busy)).status).to.equal(Status.FAILED);
  });

  it('page by page, every match is re-driven once', async () => {
    const all: string[] = [];
    for (let n = 0; n < 5; n += 1) all.push(await failing('rejected', 'pages'));
    healed = true;
    const driven: string[] = [];
    let pageToken = '';
    do {
      const selection = { case: 'filter', value: { recipientId: 'pages' } } as const;
      const page = await carillon.client.retryNotifications({ selection, limit: 2, pageToken });
      driven.push(...page.ids);
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(driven.toSorted()).to.deep.equal(all.toSorted());
  });

  it('what is not FAILED is left alone, and asking for nothing is refused', async () => {
    const id = await carillon.sendOne(sms());
    await carillon.until(id, Status.SENT);
    const { ids } = await carillon.client.retryNotifications({ selection: { case: 'ids', value: { ids: [id] } } });
    expect(ids).to.deep.equal([]);
    await carillon.client.retryNotifications({ selection: { case: undefined } }).then(
      () => expect.fail('it was accepted'),
      (thrown: unknown) => expect(thrown).to.have.property('code', Code.InvalidArgument),
    );
  });
}
