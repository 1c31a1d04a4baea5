import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { examine } from '../src/cli/doctor.ts';
import { CHANNELS } from '../src/domain/notification.ts';
import type { Provider } from '../src/providers/provider.ts';
import type { Routes } from '../src/providers/routes.ts';
import { startSmtp } from './support/start-smtp.ts';

const CLI = join(import.meta.dirname, '..', 'src', 'cli.ts');

/** The words of a line; its columns are two spaces or more apart. */
const columns = (line: string): readonly string[] => line.split(/ {2,}/);

function provider(name: string, check?: Provider['check']): Provider {
  return {
    name,
    channel: 'sms',
    send: () => Promise.reject(new Error('nothing may be sent')),
    ...(check && { check }),
    async [Symbol.asyncDispose]() {},
  };
}

const routes = (...providers: readonly Provider[]): Routes => ({
  for: (channel) => (channel === 'sms' ? providers.map((one) => ({ provider: one, weight: 0 })) : []),
  async [Symbol.asyncDispose]() {},
});

async function examined(...providers: readonly Provider[]): Promise<{ healthy: boolean; lines: string[] }> {
  const lines: string[] = [];
  const healthy = await examine(routes(...providers), (line) => lines.push(line), 50);
  return { healthy, lines };
}

const good = provider('good', async () => ({ ok: true, detail: 'of account 7' }));
const bad = provider('bad', async () => ({ ok: false, detail: '401 Unauthorized' }));
const mute = provider('mute');

describe('the doctor', () => {
  it('tells channel, provider, state and detail, in the order of the list', async () => {
    const { lines } = await examined(bad, good, mute);
    expect(lines.map(columns)).to.deep.equal([
      ['sms', 'bad', 'failed', '401 Unauthorized'],
      ['sms', 'good', 'ok', 'of account 7'],
      ['sms', 'mute', 'cannot be checked'],
    ]);
  });

  it('is content unless a provider failed', async () => {
    expect((await examined(good, mute)).healthy).to.equal(true);
    expect((await examined(good, bad)).healthy).to.equal(false);
    expect((await examined()).healthy).to.equal(true);
  });

  it('asks all at the same time', async () => {
    const both = Promise.withResolvers<void>();
    let asked = 0;
    const waiting = async (): Promise<{ ok: true; detail: string }> => {
      asked += 1;
      if (asked === 2) both.resolve();
      await both.promise;
      return { ok: true, detail: '' };
    };
    expect((await examined(provider('one', waiting), provider('two', waiting))).healthy).to.equal(true);
  });

  it('gives up on one that does not answer, and tells it to stop', async () => {
    let signal: AbortSignal | undefined;
    const silent = provider('silent', (given) => {
      signal = given;
      return new Promise(() => {});
    });
    const { healthy, lines } = await examined(silent, good);
    expect(healthy).to.equal(false);
    expect(lines.map((line) => columns(line)[2])).to.deep.equal(['failed', 'ok']);
    expect(signal?.aborted).to.equal(true);
  });
});

describe('carillon doctor', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'carillon-doctor-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function run(...set: readonly string[]): Promise<{ code: unknown; lines: string[]; faults: string[] }> {
    const args = [CLI, 'doctor', ...set.flatMap((pair) => ['--set', pair])];
    const child = spawn(process.execPath, args, { cwd: folder, env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, error, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    const split = (output: string): string[] => output.split('\n').filter((line) => line !== '');
    return { code, lines: split(out), faults: split(error) };
  }

  it('looks at every channel of a fresh installation, and opens no store', async () => {
    const { code, lines, faults } = await run();
    expect([code, faults]).to.deep.equal([0, []]);
    expect(lines.map((line) => columns(line)[0])).to.deep.equal([...CHANNELS]);
    expect(readdirSync(folder)).to.be.empty;
  });

  it('ends with 1 when a provider failed, and sends nothing', async () => {
    await using relay = await startSmtp();
    await using closed = await startSmtp();
    await closed[Symbol.asyncDispose]();
    const { code, lines } = await run(
      'notifications.default_sender_email=shop@example.com',
      'notifications.email.providers=smtp,smtp_fallback',
      `notifications.email.smtp.host=${relay.host}`,
      `notifications.email.smtp.port=${relay.port}`,
      `notifications.email.smtp_fallback.host=${closed.host}`,
      `notifications.email.smtp_fallback.port=${closed.port}`,
    );
    expect(code).to.equal(1);
    expect(lines.slice(0, 2).map((line) => columns(line).slice(0, 3))).to.deep.equal([
      ['email', 'smtp', 'ok'],
      ['email', 'smtp_fallback', 'failed'],
    ]);
    expect(relay.connections).to.be.above(0);
    expect(relay.mails).to.be.empty;
  });

  it('tells every fault of the configuration, a line each, and asks nobody', async () => {
    const { code, lines, faults } = await run('notifications.email.providers=smtp', 'log.level=loud');
    expect([code, lines]).to.deep.equal([1, []]);
    expect(faults).to.have.length(3);
  });
});
