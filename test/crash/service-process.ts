/** The processes of the service, seen from outside: started, killed, started again, called over gRPC. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createClient } from '@connectrpc/connect';
import type { Client } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { NotificationService } from '../../gen/carillon/v1/notification_service_pb.js';
import type { CrashPoint } from '../support/crash-point.ts';
import type { ChildReady, ChildSettings } from './child.ts';

export type CarillonClient = Client<typeof NotificationService>;

const CHILD = join(import.meta.dirname, 'child.ts');
const START_DEADLINE = 30_000;
const MAX_STARTS = 20;
/** Between the kill of a process and the news of its end. */
const END_DEADLINE = 10_000;
/** Longer than `server.shutdown_deadline_seconds`. */
const STOP_DEADLINE = 35_000;
/** Compiled sources are kept between starts: a start costs half the time. */
const COMPILE_CACHE = join(tmpdir(), 'carillon-crash-compile-cache');

/** A process that has loaded the sources and waits for its settings: most of a start is loading. */
class Spare {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  readonly #output: string[] = [];

  constructor() {
    this.child = spawn(process.execPath, [CHILD], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => this.#output.push(text));
    }
    this.ended = once(this.child, 'close');
  }

  get output(): string {
    return this.#output.join('');
  }

  /** @throws Error with what the process said when it ends before it is ready */
  async start(settings: ChildSettings): Promise<ServiceProcess> {
    const { child, ended } = this;
    const timer = setTimeout(() => child.kill('SIGKILL'), START_DEADLINE);
    const said = new AbortController();
    const ready = once(child, 'message', { signal: said.signal });
    child.send(settings);
    const message = await Promise.race([ready, ended.then(() => undefined)]);
    clearTimeout(timer);
    if (message) {
      // Sent by child.ts.
      return new ServiceProcess(this, message[0] as ChildReady);
    }
    said.abort();
    await ready.catch(() => undefined);
    throw new Error(`the service did not start: ${this.output}`);
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

export class ServiceProcess {
  readonly client: CarillonClient;
  /** Where the vendor calls back. */
  readonly httpUrl: string;
  readonly ended: Promise<void>;
  readonly #spare: Spare;

  constructor(spare: Spare, { grpcUrl, httpUrl }: ChildReady) {
    this.#spare = spare;
    this.httpUrl = httpUrl;
    const sessionManager = new Http2SessionManager(grpcUrl);
    this.client = createClient(NotificationService, createGrpcTransport({ baseUrl: grpcUrl, sessionManager }));
    this.ended = spare.ended.then(() => sessionManager.abort());
  }

  get running(): boolean {
    const { exitCode, signalCode } = this.#spare.child;
    return exitCode === null && signalCode === null;
  }

  /** Node tells of the broken connection of a killed process before it tells of its end. */
  async isEnding(): Promise<boolean> {
    await Promise.race([this.ended, delay(END_DEADLINE, undefined, { ref: false })]);
    return !this.running;
  }

  /** All that it wrote: its log has errors only. */
  get output(): string {
    return this.#spare.output;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.running) this.#spare.child.kill(signal);
    await this.ended;
  }
}

/** One place for a process, which is filled again after each death. */
export class Slot implements AsyncDisposable {
  readonly #settings: ChildSettings;
  #current: ServiceProcess | undefined;
  #spare = new Spare();
  #up = Promise.withResolvers<ServiceProcess>();
  readonly #outputs: string[] = [];
  readonly #faults: string[] = [];
  #ending = false;

  constructor(settings: ChildSettings) {
    this.#settings = settings;
  }

  /** The process of the moment, or the next one. */
  up(): Promise<ServiceProcess> {
    return this.#up.promise;
  }

  /** What all processes of this place wrote. */
  get output(): string {
    return this.#outputs.join('');
  }

  /** Deaths that nobody wanted. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  async start(point?: CrashPoint): Promise<ServiceProcess> {
    const started = await this.#begin({ ...this.#settings, ...(point && { point }) });
    this.#current = started;
    this.#ending = point !== undefined;
    this.#up.resolve(started);
    void started.ended.then(() => {
      this.#outputs.push(started.output);
      if (!this.#ending) this.#faults.push(`the service died by itself: ${started.output.slice(-2_000)}`);
      this.#up = Promise.withResolvers();
    });
    return started;
  }

  /** A process that cannot reach its servers refuses to start; whoever supervises it starts it again. */
  async #begin(settings: ChildSettings, tries = MAX_STARTS): Promise<ServiceProcess> {
    const spare = this.#spare;
    try {
      return await spare.start(settings);
    } catch (thrown) {
      if (tries <= 1 || !spare.output.includes('_UNAVAILABLE')) throw thrown;
    } finally {
      this.#spare = new Spare();
    }
    return this.#begin(settings, tries - 1);
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#ending = true;
    await this.#current?.end(signal);
  }

  /** Stops in the ordinary way; one that does not end by itself is a fault, and is killed. */
  async stop(): Promise<void> {
    const late = setTimeout(() => {
      this.#faults.push(`the service had not stopped ${STOP_DEADLINE} ms after SIGTERM`);
      void this.end('SIGKILL');
    }, STOP_DEADLINE);
    await this.end('SIGTERM');
    clearTimeout(late);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spare.end();
    await this.end();
  }
}
