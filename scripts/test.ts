/**
 * Runs every test, or those named as arguments. Servers the tests want and the machine lacks are installed where that is
 * possible; what cannot run is skipped by name. The last line says how many passed, failed and were skipped.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { RunResult } from '../test/support/reporter.ts';

const ROOT = join(import.meta.dirname, '..');
/** Programs that were installed for the tests alone; git-ignored. */
const OWN_PROGRAMS = join(ROOT, '.cache', 'bin');
const INSTALL_DEADLINE_MS = 300_000;
/** How long mocha may live on after its report: whatever keeps it alive was leaked. */
const END_DEADLINE_MS = 15_000;
const POLL_MS = 250;

/** A skip with this in its name is allowed where CI is set: no registry that CI can reach has that program. */
const NOT_TO_BE_HAD = '(needs mongod)';

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly endedByItself: boolean;
}

function searchPath(): string {
  const goPath = process.env['GOPATH'] ?? join(homedir(), 'go');
  const known = [process.env['PATH'], process.env['GOBIN'], join(goPath, 'bin'), OWN_PROGRAMS];
  return known.filter((part) => part !== undefined && part !== '').join(delimiter);
}

function isInstalled(program: string, path: string): boolean {
  return path.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function installNatsServer(path: string): void {
  if (isInstalled('nats-server', path) || !isInstalled('go', path)) return;
  console.log('installing nats-server');
  spawnSync('go', ['install', 'github.com/nats-io/nats-server/v2@latest'], {
    env: { ...process.env, GOBIN: OWN_PROGRAMS },
    stdio: 'inherit',
    timeout: INSTALL_DEADLINE_MS,
  });
}

function runMocha(args: readonly string[], result: string, path: string): Promise<Ended> {
  const child = spawn(
    process.execPath,
    [
      join(ROOT, 'node_modules', 'mocha', 'bin', 'mocha.js'),
      '--reporter',
      './test/support/reporter.ts',
      '--reporter-option',
      `result=${result}`,
      // Not in .mocharc.json: mocha would add the files named by hand to it.
      ...(args.length > 0 ? args : ['test/**/*.test.ts']),
    ],
    { cwd: ROOT, stdio: 'inherit', env: { ...process.env, PATH: path } },
  );
  return new Promise((resolve, reject) => {
    let reportedAt: number | undefined;
    let endedByItself = true;
    const watch = setInterval(() => {
      if (!existsSync(result)) return;
      reportedAt ??= Date.now();
      if (Date.now() - reportedAt < END_DEADLINE_MS) return;
      endedByItself = false;
      child.kill('SIGKILL');
    }, POLL_MS);
    child.once('error', (error) => {
      clearInterval(watch);
      reject(error);
    });
    child.once('exit', (code, signal) => {
      clearInterval(watch);
      resolve({ code, signal, endedByItself });
    });
  });
}

function readResult(file: string): RunResult | undefined {
  if (!existsSync(file)) return undefined;
  // Written by our own reporter a moment ago.
  return JSON.parse(readFileSync(file, 'utf8')) as RunResult;
}

/** What went wrong beyond the tests that mocha counts. */
function otherFailures(ended: Ended, result: RunResult | undefined): string[] {
  if (!result) return [`the run broke off (${ended.signal ?? `exit code ${ended.code}`})`];
  if (!ended.endedByItself) return ['something was left open: the run did not end by itself'];
  if (ended.code !== 0 && result.failed === 0) return [`mocha ended with ${ended.signal ?? `exit code ${ended.code}`}`];
  return [];
}

function report(result: RunResult, others: readonly string[]): boolean {
  const isFailure = (name: string): boolean => Boolean(process.env['CI']) && !name.includes(NOT_TO_BE_HAD);
  const forbidden = result.skipped.filter(isFailure);
  const skipped = result.skipped.filter((name) => !isFailure(name));
  for (const name of skipped) console.log(`skipped: ${name}`);
  for (const name of forbidden) console.log(`failed: skipped where nothing may be missing: ${name}`);
  for (const fault of others) console.log(`failed: ${fault}`);
  const failed = result.failed + forbidden.length + others.length;
  console.log(`${result.passed} passed, ${failed} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`);
  return failed === 0;
}

const path = searchPath();
installNatsServer(path);
const folder = mkdtempSync(join(tmpdir(), 'carillon-test-'));
try {
  const file = join(folder, 'result.json');
  const ended = await runMocha(process.argv.slice(2), file, path);
  const result = readResult(file);
  const good = report(result ?? { passed: 0, failed: 0, skipped: [] }, otherFailures(ended, result));
  process.exitCode = good ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true });
}
