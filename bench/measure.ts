/** @param q from 0 to 1 */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/** Operations per second of `run` with so many under way at a time. */
export async function rateOf(
  count: number,
  inFlight: number,
  run: (index: number) => Promise<unknown>,
): Promise<number> {
  let started = 0;
  const lane = async (): Promise<void> => {
    while (started < count) await run(started++);
  };
  const before = performance.now();
  await Promise.all(Array.from({ length: inFlight }, lane));
  return count / ((performance.now() - before) / 1_000);
}

export interface Speed {
  readonly perSecond: number;
  /** Microseconds of this process's own CPU time for each: what others do on the machine changes it less. */
  readonly cpu: number;
}

/** How fast `run` is with so many under way at a time, over so many milliseconds. */
export async function speedOf(milliseconds: number, inFlight: number, run: () => Promise<unknown>): Promise<Speed> {
  const before = performance.now();
  const usedBefore = process.cpuUsage();
  let done = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() - before < milliseconds) {
      await run();
      done++;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const { user, system } = process.cpuUsage(usedBefore);
  return { perSecond: done / ((performance.now() - before) / 1_000), cpu: (user + system) / done };
}

/** What can be reached at best when every notification passes all steps, one after the other, on the same machine. */
export function limitOf(steps: Readonly<Record<string, number>>): number {
  return 1 / Object.values(steps).reduce((sum, perSecond) => sum + 1 / perSecond, 0);
}
