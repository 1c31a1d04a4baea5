import { expect } from 'chai';
import { SECOND } from '../../src/domain/clock.ts';
import type { DeviceKind, Notification, NotificationState } from '../../src/domain/notification.ts';
import type { Provider, SendResult } from '../../src/providers/provider.ts';
import { openDelivery } from '../support/fake-delivery.ts';
import type { Delivery } from '../support/fake-delivery.ts';
import { BUSY, DOWN, FakeProvider, SENT, UNKNOWN } from '../support/fake-provider.ts';
import type { Script } from '../support/fake-provider.ts';
import { CIRCUIT, aRoute } from '../support/fake-router.ts';
import { aNotification } from '../support/sample.ts';

const stateOf = async (delivery: Delivery, { spec }: Notification): Promise<NotificationState> =>
  (await delivery.stored(spec.id)).state;

/** A push provider for one kind of device. */
function pusher(name: string, kind: DeviceKind, script: SendResult | Script): FakeProvider {
  const serves: NonNullable<Provider['serves']> = ({ device }) => device?.kind === kind;
  return Object.assign(new FakeProvider(name, script, 'push'), { serves });
}

function aPush(...kinds: readonly DeviceKind[]): Notification {
  const devices = kinds.map((kind, index) => ({ kind, token: `${kind}-${index}` }));
  return aNotification({
    spec: { channel: 'push', recipient: { devices } },
    state: { targets: devices.map(({ token }) => ({ address: token })) },
  });
}

const callsPer = (provider: FakeProvider): Record<string, number> =>
  Object.fromEntries(
    [...Map.groupBy(provider.calls, ({ message }) => message.to)].map(([to, calls]) => [to, calls.length]),
  );

/** Delivers until the row is settled for good, going from one due time to the next. */
async function drive(delivery: Delivery, row: Notification): Promise<NotificationState> {
  for (let i = 0; i < 20; i++) {
    const state = await stateOf(delivery, row);
    if (state.status !== 'pending' && state.status !== 'queued') return state;
    await delivery.clock.advance(Math.max(0, state.dueAt - delivery.clock.now()));
    await delivery.deliver(row);
  }
  throw new Error('it never ends');
}

describe('a push to several devices', () => {
  it('reaches each once, while one of them fails for a while', async () => {
    const fcm = pusher('fcm', 'fcm_token', ({ message }, n) => (message.to === 'fcm_token-1' && n <= 4 ? BUSY : SENT));
    await using delivery = await openDelivery({ providers: [fcm] });
    const row = await delivery.insert(aPush('fcm_token', 'fcm_token', 'fcm_token'));
    const state = await drive(delivery, row);
    expect(state.status).to.equal('sent');
    expect(callsPer(fcm)).to.deep.equal({ 'fcm_token-0': 1, 'fcm_token-1': 3, 'fcm_token-2': 1 });
    expect(state.targets.map(({ outcome }) => outcome)).to.deep.equal(['sent', 'sent', 'sent']);
  });

  it('goes to the provider of each kind within one attempt', async () => {
    const fcm = pusher('fcm', 'fcm_token', SENT);
    const apns = pusher('apns', 'apns', SENT);
    await using delivery = await openDelivery({ providers: [fcm, apns] });
    const row = await delivery.insert(aPush('apns', 'fcm_token', 'apns'));
    await delivery.deliver(row);
    const { status, attempt, attempts } = await stateOf(delivery, row);
    expect([status, attempt]).to.deep.equal(['sent', 1]);
    expect(attempts.map(({ number, provider, targets }) => [number, provider, targets])).to.deep.equal([
      [1, 'apns', [0, 2]],
      [1, 'fcm', [1]],
    ]);
  });

  it('takes one provider’s outage as its own: the others’ devices are reached, and only its own wait', async () => {
    const fcm = pusher('fcm', 'fcm_token', SENT);
    const apns = pusher('apns', 'apns', (_call, n) => (n <= 2 ? DOWN : SENT));
    await using delivery = await openDelivery({ providers: [fcm, apns] });
    const row = await delivery.insert(aPush('apns', 'fcm_token'));
    const state = await drive(delivery, row);
    expect(state).to.include({ status: 'sent', attempt: 3 });
    expect([apns.calls.length, fcm.calls.length]).to.deep.equal([3, 1]);
  });

  it('gives up a device that no provider of the route serves, and reaches the others', async () => {
    const fcm = pusher('fcm', 'fcm_token', SENT);
    await using delivery = await openDelivery({ providers: [fcm] });
    const row = await delivery.insert(aPush('web_push', 'fcm_token'));
    await delivery.deliver(row);
    const { status, targets } = await stateOf(delivery, row);
    expect([status, ...targets.map(({ outcome }) => outcome)]).to.deep.equal(['sent', 'permanent_failure', 'sent']);
  });

  it('fails as NO_PROVIDER when none of its devices is served', async () => {
    await using delivery = await openDelivery({ providers: [pusher('fcm', 'fcm_token', SENT)] });
    const row = await delivery.insert(aPush('apns'));
    await delivery.deliver(row);
    expect(await stateOf(delivery, row)).to.include({ status: 'failed', reason: 'no_provider', attempt: 0 });
  });

  it('does not call a device again that its provider knows as dead', async () => {
    const dead: SendResult = { outcome: 'invalid_recipient', suppress: 'invalid_token' };
    const fcm = pusher('fcm', 'fcm_token', ({ message }) => (message.to === 'fcm_token-0' ? dead : SENT));
    await using delivery = await openDelivery({ providers: [fcm] });
    await delivery.deliver(await delivery.insert(aPush('fcm_token', 'fcm_token')));
    const next = await delivery.insert(aPush('fcm_token', 'fcm_token'));
    await delivery.deliver(next);
    const { status, targets } = await stateOf(delivery, next);
    expect([status, ...targets.map(({ outcome }) => outcome)]).to.deep.equal(['sent', 'suppressed', 'sent']);
    expect(callsPer(fcm)).to.deep.equal({ 'fcm_token-0': 1, 'fcm_token-1': 2 });
    const last = await delivery.insert(aPush('fcm_token'));
    await delivery.deliver(last);
    expect(await stateOf(delivery, last)).to.include({ status: 'cancelled', reason: 'suppressed', attempt: 0 });
  });

  it('asks the same provider again for the device whose outcome is unknown', async () => {
    const first = pusher('first', 'fcm_token', ({ message }, n) => {
      if (message.to === 'fcm_token-0') return DOWN;
      return n <= 2 ? UNKNOWN : SENT;
    });
    const second = pusher('second', 'fcm_token', SENT);
    await using delivery = await openDelivery({ providers: [first, second] });
    const row = await delivery.insert(aPush('fcm_token', 'fcm_token'));
    const state = await drive(delivery, row);
    expect(state.status).to.equal('sent');
    expect(state.attempts.map(({ provider, choice, targets }) => [provider, choice, targets])).to.deep.equal([
      ['first', 'first', [0, 1]],
      ['second', 'fail_over', [0]],
      ['first', 'repeat', [1]],
    ]);
  });

  it('waits for the provider whose outcome is unknown rather than ask another', async () => {
    const first = pusher('first', 'fcm_token', (_call, n) => (n === 1 ? UNKNOWN : n <= 3 ? DOWN : SENT));
    const second = pusher('second', 'fcm_token', SENT);
    await using delivery = await openDelivery({ providers: [first, second] });
    const state = await drive(delivery, await delivery.insert(aPush('fcm_token')));
    expect([state.status, first.calls.length, second.calls.length]).to.deep.equal(['sent', 4, 0]);
  });
});

describe('a route', () => {
  const route = (...scripts: readonly (SendResult | Script)[]): FakeProvider[] =>
    scripts.map((script, index) => new FakeProvider(`p${index}`, script));

  it('that is down holds its notifications without counting an attempt, and sends them when it is back', async () => {
    const [down] = route((_call, n) => (n <= CIRCUIT.failures ? DOWN : SENT));
    if (!down) throw new Error('one was made');
    await using delivery = await openDelivery({ providers: [down] });
    for (let i = 0; i < CIRCUIT.failures; i++) await delivery.deliver(await delivery.insert(aNotification()));
    const row = await delivery.insert(aNotification());
    const { pauseUntil } = await delivery.deliver(row);
    const held = await stateOf(delivery, row);
    expect(held).to.include({ status: 'pending', reason: 'route_down', attempt: 0 });
    expect(pauseUntil, 'the channel has nothing else to do').to.equal(held.dueAt);
    expect((await drive(delivery, row)).status).to.equal('sent');
    expect(down.calls).to.have.length(CIRCUIT.failures + 1);
  });

  it('passes over a provider whose circuit is open, and the attempt says so', async () => {
    const [down, up] = route(DOWN, SENT);
    if (!down || !up) throw new Error('two were made');
    await using delivery = await openDelivery({ providers: [down, up] });
    for (let i = 0; i < CIRCUIT.failures; i++) await delivery.deliver(await delivery.insert(aNotification()));
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    const { attempts } = await stateOf(delivery, row);
    expect(attempts.map(({ provider, choice, skipped }) => [provider, choice, skipped])).to.deep.equal([
      ['p1', 'first', [{ provider: 'p0', reason: 'circuit_open' }]],
    ]);
    expect(down.calls).to.have.length(CIRCUIT.failures);
  });

  it('says of each entry of an attempt why it was made', async () => {
    await using delivery = await openDelivery({ providers: route(DOWN, DOWN, SENT) });
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    const { attempts, attempt } = await stateOf(delivery, row);
    expect(attempts.map(({ provider, choice }) => [provider, choice])).to.deep.equal([
      ['p0', 'first'],
      ['p1', 'fail_over'],
      ['p2', 'fail_over'],
    ]);
    expect(attempt).to.equal(1);
  });

  it('does not fail over to a provider that cannot be asked', async () => {
    const [down, limited] = route(DOWN, SENT);
    if (!down || !limited) throw new Error('two were made');
    const providers = [aRoute(down), aRoute(limited, { limit: { perMinute: 1, burst: 1 } })];
    await using delivery = await openDelivery({ providers });
    await delivery.deliver(await delivery.insert(aNotification()));
    const row = await delivery.insert(aNotification());
    await delivery.deliver(row);
    expect(await stateOf(delivery, row)).to.include({ status: 'pending', reason: 'retrying', attempt: 1 });
    expect(limited.calls).to.have.length(1);
  });

  it('never goes round a suppression', async () => {
    const providers = route(SENT, SENT);
    await using delivery = await openDelivery({ providers });
    const row = await delivery.insert(aNotification());
    const { tenant } = row.spec;
    const address = 'ana@example.com';
    await delivery.suppressor.add([{ tenant, channel: 'email', address, reason: 'hard_bounce', source: 'ses' }]);
    await delivery.deliver(row);
    expect(await stateOf(delivery, row)).to.include({ status: 'cancelled', reason: 'suppressed', attempt: 0 });
    expect(providers.flatMap(({ calls }) => calls)).to.deep.equal([]);
  });

  it('loses no attempt to a provider that asks to wait, and waits as long as it asks', async () => {
    const [busy] = route((_call, n) => (n === 1 ? { outcome: 'rate_limited', retryAfterMs: 7 * SECOND } : SENT));
    if (!busy) throw new Error('one was made');
    await using delivery = await openDelivery({ providers: [busy] });
    const row = await delivery.insert(aNotification());
    const asked = delivery.clock.now();
    await delivery.deliver(row);
    expect(await stateOf(delivery, row)).to.include({ reason: 'rate_limited', attempt: 0, dueAt: asked + 7 * SECOND });
    expect(await drive(delivery, row)).to.include({ status: 'sent', attempt: 1 });
  });
});
