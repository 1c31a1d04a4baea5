/** Connections to one or many services, with a time limit and a number of calls at a time. */
import { Socket, type LookupFunction } from 'node:net';
import type { Agent } from 'undici';
import { callHttp, type HttpRequest, type HttpResult } from './http-call.ts';
import { Slots } from './slots.ts';

export interface HttpPoolOptions {
  /** Milliseconds for one call, from the connection to the end of the answer. */
  readonly timeout: number;
  /** Further calls wait, and the wait ends with the call's signal. */
  readonly maxConcurrent: number;
  /** Authorities, PEM, in place of the system's. */
  readonly ca?: string | undefined;
  /** Resolves names, and may refuse them. */
  readonly lookup?: LookupFunction;
  /** HTTP/2 where the server offers it. */
  readonly allowH2?: boolean;
  /** Milliseconds for which an idle connection is kept; 4 s unless given. */
  readonly keepAlive?: number;
}

/** The limit on calls at a time was ours: nothing was found out about the service. */
export class NoFreeCall extends Error {
  override readonly name = 'NoFreeCall';
  readonly code = 'no_free_call';

  constructor() {
    super('as many calls as are allowed were under way');
  }
}

/** Milliseconds after which an address that does not answer is given up. */
const CONNECT_TIMEOUT = 10_000;
/** A kept connection serves a burst; kept longer, an HTTP/1.1 server's own limit could close it under a request. */
const KEEP_ALIVE = 4_000;

export class HttpPool implements AsyncDisposable {
  readonly #options: HttpPoolOptions;
  readonly #slots: Slots;
  readonly #connecting = new Set<Socket>();
  #closed = false;
  /** Its library is loaded with the first call: a start does not need it. */
  #agent: Promise<Agent> | undefined;
  /** Agents that are left, until what is under way there has ended. */
  readonly #left = new Set<Agent>();
  #answered = 0;

  constructor(options: HttpPoolOptions) {
    this.#options = options;
    this.#slots = new Slots(options.maxConcurrent);
  }

  /** One request; never rejects. */
  async call(request: HttpRequest, signal: AbortSignal): Promise<HttpResult> {
    if (this.#closed) return { kind: 'not_sent', error: new Error('it is closed') };
    if (!(await this.#slots.take(signal))) return { kind: 'not_sent', error: new NoFreeCall() };
    try {
      const opened = (this.#agent ??= this.#open());
      const agent = await opened;
      const answered = this.#answered;
      const result = await callHttp(agent, request, signal, this.#options.timeout);
      if (result.kind === 'answered') this.#answered += 1;
      // Nothing at all was heard while this call waited.
      else if (isTimeout(result.error) && answered === this.#answered) this.#leave(opened, agent);
      return result;
    } finally {
      this.#slots.give();
    }
  }

  /**
   * Behind a path that is gone without a word, as when a router forgets it, an HTTP/2 connection looks like one whose server
   * is slow: giving up a stream leaves it in use, for a quarter of an hour. The next call makes a new one.
   */
  #leave(opened: Promise<Agent>, agent: Agent): void {
    if (!this.#options.allowH2 || this.#agent !== opened) return;
    this.#agent = undefined;
    this.#left.add(agent);
    const forget = (): void => void this.#left.delete(agent);
    agent.close().then(forget, forget);
  }

  async #open(): Promise<Agent> {
    const { Agent, buildConnector } = await import('undici');
    const { timeout, ca, lookup, allowH2 = false, keepAlive = KEEP_ALIVE } = this.#options;
    const connect = buildConnector({
      timeout: Math.min(timeout, CONNECT_TIMEOUT),
      allowH2,
      ...(ca === undefined ? {} : { ca }),
      ...(lookup === undefined ? {} : { lookup }),
    });
    const agent = new Agent({
      connect: (options, done) => {
        // undici answers the socket, which its type does not say.
        const socket: unknown = connect(options, (...made) => {
          if (socket instanceof Socket) this.#connecting.delete(socket);
          done(...made);
        });
        if (socket instanceof Socket) this.#connecting.add(socket);
      },
      keepAliveTimeout: keepAlive,
      keepAliveMaxTimeout: keepAlive,
      allowH2,
    });
    if (this.#closed) await agent.destroy();
    return agent;
  }

  /** The pipeline has finished by now; a call still under way ends without its answer. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const current = await this.#agent;
    const agents = current ? [...this.#left, current] : [...this.#left];
    // They do not end with their agent. A signal would end them, and keep a listener for each that there ever was.
    for (const socket of this.#connecting) socket.destroy();
    await Promise.all(agents.map((agent) => agent.destroy()));
  }
}

const isTimeout = (error: unknown): boolean => error instanceof DOMException && error.name === 'TimeoutError';
