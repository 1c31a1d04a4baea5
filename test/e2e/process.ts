import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Status } from '../../gen/carillon/v1/notification_pb.js';
import { CarillonError } from '../../src/errors.ts';
import type { Ports } from '../../src/service.ts';
import { eventually } from '../support/eventually.ts';
import type { PairRig, PairStore } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { TestCarillon } from '../support/start-carillon.ts';
import { startHttp } from '../support/start-http.ts';
import { inApp, sms, webhook } from './samples.ts';
import { delegate } from './scaled-time.ts';
import { Playbook, SENT, through } from './scripted-provider.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const CLI = join(ROOT, 'src', 'cli.ts');
const SERVICE = 'carillon.v1.NotificationService';
/** A start of the program is a second of work. */
const SEVERAL_STARTS_MS = 120_000;

export function stopping(rig: PairRig): void {
  it('ends what is being sent, gives back the rest, tells watchers, and a new start goes on', async () => {
    const playbook = new Playbook('sms');
    const stopsTaking = Promise.withResolvers<void>();
    const options = {
      store: await rig.store(),
      set: ['worker.concurrency.sms=1'],
      decorate: (ports: Ports) => tellsStop(through(...playbook.providers)(ports), stopsTaking.resolve),
    };
    const call = playbook.hold('note');
    await using first = await TestCarillon.start(options);
    const watch = first.client.watchNotifications({})[Symbol.asyncIterator]();
    await watch.next();
    const inFlight = await first.sendOne(sms());
    await eventually('the call', () => playbook.calls('note').length === 1);
    const waiting = [await first.sendOne(sms()), await first.sendOne(sms())];

    const stopped = first.stop();
    const told = await failureOf({ [Symbol.asyncIterator]: () => watch });
    expect(told).to.include({ code: Code[Code.Unavailable], reason: 'SHUTTING_DOWN' });
    await stopsTaking.promise;
    call.release(SENT);
    await stopped;
    expect(playbook.calls('note')).to.have.length(1);

    await using second = await TestCarillon.start(options);
    expect((await second.get(inFlight)).status).to.equal(Status.SENT);
    for (const id of waiting) {
      const sent = await second.until(id, Status.SENT);
      expect(sent.attempts).to.have.length(1);
    }
    expect(playbook.calls('note')).to.have.length(3);
  });
}

export function localWebhooks(rig: PairRig): void {
  it('are refused for good unless the configuration allows them', async () => {
    await using http = await startHttp();
    const set = ['notifications.webhooks.providers=http'];
    await using carillon = await TestCarillon.start({ store: await rig.store(), set });
    for (const url of [http.url, http.url.replace('127.0.0.1', 'localhost'), `http://[::1]:${http.port}`]) {
      const failed = await carillon.until(await carillon.sendOne(webhook(url)), Status.FAILED);
      expect(failed.attempts.map(({ results }) => results[0]?.responseCode)).to.deep.equal(['address_refused']);
    }
    expect(http.requests).to.have.length(0);
  });
}

export function tools(rig: PairRig): void {
  it('buf curl lists the service and sends through reflection', async () => {
    await using carillon = await TestCarillon.start({ store: await rig.store() });
    const buf = (...args: string[]) =>
      run(join(ROOT, 'node_modules', '.bin', 'buf'), [
        'curl',
        '--http2-prior-knowledge',
        '--protocol',
        'grpc',
        ...args,
      ]);
    const methods = await buf('--list-methods', carillon.grpcUrl);
    expect(methods.stdout).to.contain(`${SERVICE}/SendNotification`);
    const notification = {
      type: 'note',
      channels: ['CHANNEL_IN_APP'],
      recipient: { id: 'customer-1' },
      content: { text_body: 'hello' },
    };
    const request = JSON.stringify({ notification });
    const { stdout } = await buf('-d', request, `${carillon.grpcUrl}/${SERVICE}/SendNotification`);
    const { notifications } = JSON.parse(stdout) as { notifications: { id: string }[] }; // what the proto says
    await carillon.until(notifications[0]?.id ?? '', Status.SENT);
  });
}

export function oneFile(rig: PairRig): void {
  it('serves one process: a second one is refused clearly, and the first goes on', async () => {
    const store = await rig.store();
    await using carillon = await TestCarillon.start({ store });
    const refused = await TestCarillon.start({ store }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(refused).to.be.instanceOf(CarillonError).with.property('reason', 'STORE_UNAVAILABLE');
    const { code, stderr } = await ended(serve(store));
    expect(code).to.equal(1);
    expect(stderr.trim().split('\n'), 'one line for people').to.have.length(1);
    await carillon.until(await carillon.sendOne(inApp()), Status.SENT);
  });
}

export function commandLine(rig: PairRig): void {
  it('serves, sends, watches and shows the outbox, and ends well on SIGTERM', async function () {
    this.timeout(SEVERAL_STARTS_MS);
    const served = serve(await rig.store());
    try {
      const { http } = await startedLine(served);
      const server = ['--server', `http://${http}`];
      const data = JSON.stringify({ reset_url: 'https://shop.example/reset/1' });
      const args = ['password_reset', '--to', 'ada@example.com', '--data', data];
      const sent = await carillon('send', ...args, ...server);
      const [, follow = ''] = /^follow it: npx carillon (.+)$/m.exec(sent) ?? [];
      const watch = spawn(process.execPath, [CLI, ...follow.split(' '), '--json']);
      const statuses: unknown[] = [];
      for await (const line of createInterface({ input: watch.stdout })) {
        const { status } = JSON.parse(line) as { status: unknown };
        statuses.push(status);
        if (status === 'STATUS_SENT') watch.kill('SIGINT');
      }
      expect(statuses).to.deep.equal(['STATUS_QUEUED', 'STATUS_PROCESSING', 'STATUS_SENT']);
      const outbox = await carillon('outbox', ...server);
      expect(outbox).to.contain('ada@example.com').and.to.contain('https://shop.example/reset/1');
      served.kill('SIGTERM');
      expect((await ended(served)).code).to.equal(0);
    } finally {
      served.kill('SIGKILL');
    }
  });

  it('sends a subject as the title of a push, and shows it in the outbox', async function () {
    this.timeout(SEVERAL_STARTS_MS);
    await using service = await TestCarillon.start({ store: await rig.store() });
    const server = ['--server', service.httpUrl];
    const args = ['note', '--channel', 'push', '--to', 'a-token', '--text', 'hi', '--subject', 'Your order', ...server];
    const [id = ''] = (await carillon('send', ...args)).split(' ');
    await service.until(id, Status.SENT);
    expect(await carillon('outbox', ...server)).to.contain('Your order');
  });

  it('tells an error of the service with its code, and ends with 1', async () => {
    await using service = await TestCarillon.start({ store: await rig.store() });
    const args = ['send', 'note', '--text', 'hi', '--subject', 'hi', '--to', 'nobody', '--server', service.httpUrl];
    const { code, stderr } = await ended(spawn(process.execPath, [CLI, ...args]));
    expect(code).to.equal(1);
    expect(stderr).to.contain('recipient.email');
  });
}

/** Says when the workers are told to take no more jobs. */
function tellsStop(ports: Ports, told: () => void): Ports {
  const { queue } = ports;
  const consume: typeof queue.consume = (lane, options) => {
    options.signal.addEventListener('abort', told, { once: true });
    queue.consume(lane, options);
  };
  return { ...ports, queue: delegate(queue, { consume }) };
}

const carillon = async (...args: string[]): Promise<string> => (await run(process.execPath, [CLI, ...args])).stdout;

function serve({ settings }: PairStore): ChildProcess {
  const set = ['server.grpc_address=127.0.0.1:0', 'server.http_address=127.0.0.1:0', ...settings];
  const flags = set.flatMap((setting) => ['--set', setting]);
  return spawn(process.execPath, [CLI, 'serve', ...flags], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Where a started process listens, as its log says. */
async function startedLine(child: ChildProcess): Promise<{ readonly http: string }> {
  if (!child.stdout) throw new Error('its output is not read');
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue;
    const fields = JSON.parse(line) as { event?: string; http?: string };
    if (fields.event === 'started' && fields.http) return { http: fields.http };
  }
  throw new Error('it ended before it was ready');
}

async function ended(child: ChildProcess): Promise<{ readonly code: number | null; readonly stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdout?.resume();
  if (child.exitCode === null) await once(child, 'close');
  return { code: child.exitCode, stderr };
}
