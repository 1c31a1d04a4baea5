import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';
import type { MochaOptions, Runner, Test } from 'mocha';

/** What a run came to, for scripts/test.ts. */
export interface RunResult {
  readonly passed: number;
  /** Hooks included. */
  readonly failed: number;
  /** Full names of the tests that were skipped. */
  readonly skipped: readonly string[];
}

/** Mocha's own report, and the figures in a file: `--reporter-option result=<path>`. */
class ResultReporter extends Mocha.reporters.Spec {
  constructor(runner: Runner, options: MochaOptions) {
    super(runner, options);
    const result: unknown = options.reporterOptions?.['result'];
    const skipped: string[] = [];
    runner.on('pending', (test: Test) => skipped.push(test.fullTitle()));
    runner.once('end', () => {
      const { passes, failures } = this.stats;
      if (typeof result === 'string')
        writeFileSync(result, JSON.stringify({ passed: passes, failed: failures, skipped }));
    });
  }
}

// Mocha takes a reporter as what `require` returns.
export { ResultReporter as 'module.exports' };
