/**
 * Everything that can be said about the tree without running the service: types, lint, format, proto, and that what is
 * generated is what its source says. Runs every step and names those that failed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultSchema } from '../src/config.ts';
import { CONFIG_DOCS, renderConfigDocs } from './config-docs.ts';

const ROOT = join(import.meta.dirname, '..');
/** The API as it was released last: `buf build proto --exclude-imports --exclude-source-info -o …`. */
const RELEASED_PROTO = join('proto', 'released.binpb');

interface Step {
  readonly name: string;
  /** Throws with what is wrong. */
  readonly run: () => void;
}

function command(program: string, ...args: readonly string[]): void {
  // npm puts the project's own programs on PATH.
  const { status, error, stdout, stderr } = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}\n${stdout}${stderr}`.trim());
}

/** Generates into a folder of its own and compares: offline, and without touching gen/. */
function generatedUpToDate(): void {
  const folder = mkdtempSync(join(tmpdir(), 'carillon-gen-'));
  try {
    command('buf', 'generate', '-o', folder);
    command('diff', '-r', '-u', 'gen', join(folder, 'gen'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function docsUpToDate(): void {
  if (readFileSync(CONFIG_DOCS, 'utf8') !== renderConfigDocs(defaultSchema())) {
    throw new Error('docs/config.md is not what src/carillon.default.toml and src/providers say: npm run docs');
  }
}

const step = (name: string, run: () => void): Step => ({ name, run });

const STEPS: readonly Step[] = [
  step('types', () => command('tsc')),
  step('lint', () => command('oxlint')),
  step('format', () => command('oxfmt', '--check')),
  step('proto dependencies', () => command(process.execPath, join('scripts', 'proto-deps.ts'))),
  step('proto lint', () => command('buf', 'lint')),
  step('proto format', () => command('buf', 'format', 'proto', '--diff', '--exit-code')),
  ...(existsSync(join(ROOT, RELEASED_PROTO))
    ? [step('proto breaking', () => command('buf', 'breaking', 'proto', '--against', RELEASED_PROTO))]
    : []),
  step('generated code', generatedUpToDate),
  step('configuration docs', docsUpToDate),
];

let failed = 0;
for (const { name, run } of STEPS) {
  try {
    run();
    console.log(`ok      ${name}`);
  } catch (thrown) {
    failed += 1;
    console.log(`FAILED  ${name}\n${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
