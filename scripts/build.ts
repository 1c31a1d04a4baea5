/** Makes dist/: the sources as JavaScript, with the file of defaults beside them as it is beside the sources. */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');

rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
const { status } = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' });
if (status === 0) cpSync(join(ROOT, 'src', 'carillon.default.toml'), join(ROOT, 'dist', 'carillon.default.toml'));
process.exitCode = status ?? 1;
