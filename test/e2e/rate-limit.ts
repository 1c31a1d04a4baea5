import { expect } from 'chai';
import { eventually } from '../support/eventually.ts';
import type { ClusterRig, PairRig } from '../support/pairs.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { sms } from './samples.ts';
import { scaledClock, scaledQueue } from './scaled-time.ts';
import { scriptedProvider, SENT, through } from './scripted-provider.ts';

/** A minute passes in three seconds. */
const FACTOR = 20;
/** A token comes every half second of real time: between a token and its call there may pass less, on any machine. */
const PER_MINUTE = 6;
const BURST = 3;
const COUNT = 11;
const WINDOW = 60_000;

export function rateLimit(rig: PairRig): void {
  it('lets through at most rate + burst in any minute, and everything in the end', async () => {
    expectLimited(await timesOfSending(rig, 1));
  });
}

export function sharedRateLimit(rig: ClusterRig): void {
  it('lets through at most rate + burst in any minute, of both together', async () => {
    expectLimited(await timesOfSending(rig, 2));
  });
}

/** When each of COUNT messages reached its provider, by the clock of the processes, which share one store. */
async function timesOfSending(rig: PairRig, processes: number): Promise<number[]> {
  const clock = scaledClock(FACTOR);
  const times: number[] = [];
  const provider = scriptedProvider('sms', 'scripted', () => {
    times.push(clock.now());
    return SENT;
  });
  const options = {
    store: await rig.store(),
    set: [`notifications.rate_limits=[{ channel = "sms", max_per_minute = ${PER_MINUTE}, burst = ${BURST} }]`],
    clock,
    decorate: (ports: Parameters<ReturnType<typeof scaledQueue>>[0]) => through(provider)(scaledQueue(FACTOR)(ports)),
  };
  await using services = new AsyncDisposableStack();
  for (let n = 0; n < processes; n += 1) {
    const carillon = services.use(await TestCarillon.start(options));
    const requests = Array.from({ length: Math.ceil(COUNT / processes) }, () => ({ notification: sms() }));
    await carillon.client.batchSendNotifications({ requests });
  }
  await eventually('all sent', () => times.length >= COUNT);
  return times.toSorted((a, b) => a - b);
}

function expectLimited(times: readonly number[]): void {
  for (const start of times) {
    const inWindow = times.filter((at) => at >= start && at < start + WINDOW).length;
    expect(inWindow).to.be.at.most(PER_MINUTE + BURST);
  }
  // The burst goes at once; a limit that let through much less than its rate would be no better than one that lets more.
  const [first = 0] = times;
  expect((times.at(-1) ?? 0) - first).to.be.below(4 * WINDOW);
}
