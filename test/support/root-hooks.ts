/**
 * What holds for every test: an unhandled rejection fails the run, and a suite that leaves a socket, server, timer, child
 * process or worker thread behind fails itself instead of hanging the run or disturbing the next one.
 */
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import type { Suite } from 'mocha';

type Counts = ReadonlyMap<string, number>;

/** Sockets take a moment to close after the test has asked them to. */
const GRACE_MS = 3_000;
const POLL_MS = 20;

class LeakCheck {
  private readonly workers = new Set<Worker>();
  private baseline: Counts = new Map();

  /** Worker threads are not among the active resources that Node lists. */
  readonly onWorker = (worker: Worker): void => {
    this.workers.add(worker);
    worker.once('exit', () => this.workers.delete(worker));
  };

  async start(): Promise<void> {
    this.baseline = await this.count();
  }

  /** What is open now and was not at the start, after a grace. */
  async leaks(): Promise<string[]> {
    const deadline = Date.now() + GRACE_MS;
    for (;;) {
      const now = await this.count();
      const more = [...now].filter(([type, n]) => n > (this.baseline.get(type) ?? 0));
      if (more.length === 0) return [];
      if (Date.now() >= deadline) {
        const before = this.baseline;
        // The next suite answers only for what it opens itself.
        this.baseline = now;
        return more.map(([type, n]) => `${n - (before.get(type) ?? 0)} × ${type}`);
      }
      await delay(POLL_MS);
    }
  }

  private async count(): Promise<Counts> {
    // A timer that is being served still counts as open; mocha's own, of the asynchronous hook around this, counts always.
    await turn();
    const counts = new Map<string, number>([['Worker', this.workers.size]]);
    for (const type of process.getActiveResourcesInfo()) counts.set(type, (counts.get(type) ?? 0) + 1);
    return counts;
  }
}

function checkEach(suites: readonly Suite[], check: LeakCheck): void {
  for (const suite of suites) {
    // Added last, so it runs after the suite's own clean-up.
    suite.afterAll('leaves nothing open', async function () {
      this.timeout(2 * GRACE_MS);
      const leaks = await check.leaks();
      if (leaks.length > 0) throw new Error(`"${suite.title}" left open: ${leaks.join(', ')}`);
    });
  }
}

const check = new LeakCheck();
process.on('worker', check.onWorker);
// Mocha hands such a rejection to the process and would go on if nobody took it; thrown, it fails the test at hand.
process.on('unhandledRejection', (reason) => {
  throw reason instanceof Error ? reason : new Error('rejected without an error', { cause: reason });
});

export const mochaHooks = {
  async beforeAll(this: Mocha.Context): Promise<void> {
    await check.start();
    const root = this.test?.parent;
    if (!root) throw new Error('the root suite is missing');
    checkEach(root.suites, check);
  },
};
