/**
 * The vendor: a server outside of the service, whose own list of what it received is what the service is judged by. One
 * line of JSON for each call and each answer, on one connection: cheap enough for thousands of calls next to the service.
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/domain/clock.ts';
import type { Clock } from '../../src/domain/clock.ts';
import { providerKey } from '../../src/domain/id.ts';
import type { ProviderReceipt } from '../../src/domain/receipt.ts';
import { TAKEN, answerTo, isPlan } from './crash-plans.ts';
import type { VendorAnswer } from './crash-plans.ts';
import { listen } from './listen.ts';

/** A provider's call. */
export interface VendorCall {
  /** The process's own number of the call; its answer carries it. */
  readonly number: number;
  readonly id: string;
  readonly type: string;
  readonly to: string;
  readonly key: string;
  readonly provider: string;
}

export interface VendorReply {
  readonly number: number;
  readonly answer: VendorAnswer;
}

export interface Received extends VendorCall {
  /** By the service's clock. */
  readonly at: number;
  readonly target: number;
  readonly run: number;
  readonly answer: VendorAnswer;
}

export interface Vendor extends AsyncDisposable {
  readonly port: number;
  /** In the order of arrival. */
  readonly received: readonly Received[];
}

export interface VendorOptions {
  readonly clock: Clock;
  /** How long it takes over an answer, real milliseconds: so long the notification is in the service's hands. */
  readonly thinks: () => number;
  /** Told of each message that it took, before the answer goes out. */
  readonly onTaken: (call: Received) => void;
}

/** More re-drives than any test makes. */
const MAX_RUNS = 5;

export async function startVendor({ clock, thinks, onTaken }: VendorOptions): Promise<Vendor> {
  const received: Received[] = [];
  const stop = new AbortController();
  const calls = new Map<string, number>();
  const sockets = new Set<Socket>();
  const take = (socket: Socket, line: string): void => {
    const call = parseCall(line);
    // The process was killed while it wrote this line: it has not sent it.
    if (!call) return;
    const target = targetOf(call.to);
    const counter = `${call.id}:${target}`;
    const before = calls.get(counter) ?? 0;
    calls.set(counter, before + 1);
    if (!isPlan(call.type)) throw new Error(`there is no plan ${call.type}`);
    const answer = answerTo(call.type, target, before);
    const made = { ...call, at: clock.now(), target, run: runOf(call, target), answer };
    received.push(made);
    if (TAKEN.has(answer)) onTaken(made);
    if (answer !== 'hang') void reply(socket, { number: call.number, answer });
  };
  const reply = async (socket: Socket, told: VendorReply): Promise<void> => {
    await systemClock.sleep(thinks(), stop.signal);
    if (socket.writable) socket.write(`${JSON.stringify(told)}\n`);
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A process that was killed resets its connection, which both are told of.
    socket.on('error', () => socket.destroy());
    createInterface(socket)
      .on('error', () => socket.destroy())
      .on('line', (line) => take(socket, line));
  });
  const port = await listen(server);
  return {
    port,
    received,
    async [Symbol.asyncDispose]() {
      stop.abort();
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What the vendor reports of a message that it took; one event however often it was called for it. */
export function reportOf({ id, to, key, at }: Received): ProviderReceipt {
  // The API tells no ids of events: the code says which one it is.
  return { eventId: key, kind: 'delivered', notificationId: id, address: to, at, code: key };
}

/** Under which the service keeps the report, and knows a repeat of it. */
export function receiptId({ provider, key }: Pick<VendorCall, 'provider' | 'key'>): string {
  return `${provider}:${key}`;
}

function parseCall(line: string): VendorCall | undefined {
  try {
    // Written by the test's own provider.
    return JSON.parse(line) as VendorCall;
  } catch {
    return undefined;
  }
}

/** The address of the n-th device ends in `-n`; every other notification has one target only. */
function targetOf(to: string): number {
  return Number(/^device-\d+-(\d)$/.exec(to)?.[1] ?? 0);
}

/** The key names the run without saying it. */
function runOf({ id, key }: VendorCall, target: number): number {
  for (let run = 1; run <= MAX_RUNS; run++) if (providerKey(id, run, target) === key) return run;
  throw new Error('the key belongs to no run of this target');
}
