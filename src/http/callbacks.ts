/**
 * Where providers call back: POST /callbacks/<provider>, with more path behind it where a service wants some. What the
 * provider's own check lets through is stored before it is answered; everybody else learns a status and nothing more.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../domain/clock.ts';
import { SECOND } from '../domain/clock.ts';
import type { Events } from '../events.ts';
import type { Receipts } from '../pipeline/receipts.ts';
import { RECEIPT_LIFE } from '../pipeline/receipts.ts';
import type { CallbackRequest, Provider, Receive } from '../providers/provider.ts';
import type { HttpRequest, HttpResponse } from '../rpc/connect.ts';
import type { Storage } from '../storage/storage.ts';

export interface CallbacksOptions {
  /** Those that read callbacks; the others are passed over. */
  readonly providers: readonly Pick<Provider, 'name' | 'receive'>[];
  /** Where the Internet reaches this listener, without a slash at its end: what the services were told to call. */
  readonly publicUrl: string;
  readonly receipts: Pick<Receipts, 'take'>;
  readonly storage: Pick<Storage, 'reserveKeys'>;
  readonly clock: Clock;
  readonly events: Pick<Events, 'callbackRefused' | 'callbackFailed'>;
  /** Size of a body. Default: 2 MiB; times `maxConcurrent` it is the memory that strangers can fill. */
  readonly maxBytes?: number;
  /**
   * Callbacks at a time in this process. One more ends, with 408, the one whose body has been awaited longest, so that
   * strangers who send none cannot keep the places; where all bodies are there, it is answered 503. Default: 64.
   */
  readonly maxConcurrent?: number;
  /** Milliseconds for a body to arrive and be checked, so that slow callers cannot keep the places. Default: 15 s. */
  readonly deadline?: number;
}

/** A status, with the reason for the log where it is a refusal. */
interface Answer {
  readonly status: number;
  readonly why?: string;
  /** The rest of the request is not waited for. */
  readonly hangUp?: boolean;
}

type Body = Buffer | 'too_large' | 'too_slow' | 'gone';

const DEFAULT_MAX_BYTES = 2 * 1024 * 1024;
const DEFAULT_MAX_CONCURRENT = 64;
const DEFAULT_DEADLINE = 15 * SECOND;
/** What a service uses once is kept among the idempotency keys, under a name that no tenant can have. */
const NONCE_TENANT = '~callbacks';
const PATH = /^\/callbacks\/([^/?]+)/;

// Some services take 200 alone for success.
const TAKEN: Answer = { status: 200 };
/** The service is to come again. */
const AWAY: Answer = { status: 503 };
const FULL: Answer = { status: 503, why: 'too many callbacks at a time' };
/** Mailgun repeats for hours what is refused with any other status; to the others it is a refusal like each. */
const REPLAYED: Answer = { status: 406, why: 'replayed with another body' };

/** Answers whether the request is a callback of one of the providers; its answer follows. Never throws. */
export function createCallbacks(options: CallbacksOptions): (request: HttpRequest, response: HttpResponse) => boolean {
  const { providers, maxConcurrent = DEFAULT_MAX_CONCURRENT, events } = options;
  const known = new Map(providers.flatMap(({ name, receive }) => (receive ? [[name, receive] as const] : [])));
  /** The one that came first is the first. */
  const arriving = new Set<AbortController>();
  let running = 0;
  const hasPlace = (): boolean => {
    if (running < maxConcurrent) return true;
    const [longest] = arriving;
    if (longest) arriving.delete(longest);
    longest?.abort();
    return longest !== undefined;
  };
  return (request, response) => {
    const name = PATH.exec(request.url ?? '')?.[1] ?? '';
    const receive = known.get(name);
    if (!receive) return false;
    if (request.method !== 'POST') {
      response.writeHead(405, { allow: 'POST', 'content-length': '0' });
      response.end();
    } else if (!hasPlace()) {
      events.callbackRefused(name, FULL.why ?? '');
      send(response, FULL);
    } else {
      running += 1;
      void serve({ name, receive, request, response }, arriving, options).finally(() => {
        running -= 1;
      });
    }
    return true;
  };
}

interface Callback {
  readonly name: string;
  readonly receive: Receive;
  readonly request: HttpRequest;
  readonly response: HttpResponse;
}

/** Never rejects. @param arriving holds it until its body has arrived: aborted, it gives up its place */
async function serve(callback: Callback, arriving: Set<AbortController>, options: CallbacksOptions): Promise<void> {
  const { name, request, response } = callback;
  const { events, maxBytes = DEFAULT_MAX_BYTES, deadline = DEFAULT_DEADLINE } = options;
  const closed = new AbortController();
  response.once('close', () => closed.abort());
  const late = AbortSignal.timeout(deadline);
  const signal = AbortSignal.any([closed.signal, late]);
  const pushedOut = new AbortController();
  arriving.add(pushedOut);
  const body = await readBody(request, maxBytes, AbortSignal.any([late, pushedOut.signal]));
  arriving.delete(pushedOut);
  // Nobody is there to be answered.
  if (body === 'gone') return;
  const answer = await answerTo(callback, body, signal, options);
  if (answer.why !== undefined) events.callbackRefused(name, answer.why);
  send(response, answer);
}

async function answerTo(
  { name, receive, request }: Callback,
  body: Exclude<Body, 'gone'>,
  signal: AbortSignal,
  { publicUrl, clock, receipts, storage, events }: CallbacksOptions,
): Promise<Answer> {
  if (body === 'too_large') return { status: 413, why: 'too large', hangUp: true };
  if (body === 'too_slow') return { status: 408, why: 'too slow', hangUp: true };
  try {
    const url = new URL(`${publicUrl}${request.url}`);
    const result = await receive({ url, headers: headersOf(request), body, now: clock.now(), signal });
    if (result.kind === 'refused') return result;
    const { nonce } = result;
    if (nonce !== undefined && (await isReplayed(`${name}:${nonce}`, body, storage, clock))) return REPLAYED;
    await receipts.take(name, result.receipts);
    return TAKEN;
  } catch (thrown) {
    events.callbackFailed(name, thrown);
    return AWAY;
  }
}

/** The same body again is the service trying again; another one under what is used once is somebody else. */
async function isReplayed(
  key: string,
  body: Buffer,
  storage: CallbacksOptions['storage'],
  clock: Clock,
): Promise<boolean> {
  const fingerprint = createHash('sha256').update(body).digest('hex');
  const createdAt = clock.now();
  const [inForce] = await storage.reserveKeys([
    {
      tenant: NONCE_TENANT,
      key,
      fingerprint,
      groupId: '',
      ids: [],
      watchToken: '',
      createdAt,
      // As long as its receipts are known as repeats.
      expiresAt: createdAt + RECEIPT_LIFE,
    },
  ]);
  return inForce?.fingerprint !== fingerprint;
}

function headersOf({ headers }: HttpRequest): CallbackRequest['headers'] {
  const ordinary = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
  return Object.fromEntries(ordinary.map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]));
}

/** Never rejects. What comes beyond `maxBytes` is thrown away as it comes. */
function readBody(request: HttpRequest, maxBytes: number, late: AbortSignal): Promise<Body> {
  const { promise, resolve } = Promise.withResolvers<Body>();
  const chunks: Buffer[] = [];
  let size = 0;
  const giveUp = (why: Exclude<Body, Buffer>): void => {
    size = Infinity;
    chunks.length = 0;
    resolve(why);
  };
  request.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxBytes) chunks.push(chunk);
    else giveUp('too_large');
  });
  request.once('end', () => resolve(Buffer.concat(chunks)));
  // Why the connection broke helps nobody: the service that calls tries again.
  request.on('error', () => giveUp('gone'));
  request.once('close', () => giveUp('gone'));
  late.addEventListener('abort', () => giveUp('too_slow'), { once: true });
  return promise;
}

function send(response: HttpResponse, { status, hangUp = false }: Answer): void {
  // HTTP/2 has no such header, and one stream of a connection is in nobody's way.
  const goodbye = hangUp && !('stream' in response) ? { connection: 'close' } : {};
  response.writeHead(status, { 'content-length': '0', ...goodbye });
  response.end();
}
