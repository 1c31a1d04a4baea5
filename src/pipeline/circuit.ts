/**
 * A circuit breaker: after some faults in a row a provider is left alone for a while, then one call at a time probes it.
 * Each process has its own; see docs/decisions/0005.
 */
import { SECOND } from '../domain/clock.ts';

export interface CircuitOptions {
  /** Faults in a row that open it. */
  readonly failures: number;
  /** How long it stays open at first, milliseconds; doubled each time a probe fails. */
  readonly openMs: number;
  readonly maxOpenMs: number;
}

/** How soon the others may ask again while one call probes. */
const PROBE_POLL = SECOND;

export class Circuit {
  readonly #options: CircuitOptions;
  readonly #probeMs: number;
  #failures = 0;
  #openMs = 0;
  #openUntil = 0;
  #probeUntil = 0;

  /** @param probeMs a probe that has told nothing for so long is given up */
  constructor(options: CircuitOptions, probeMs: number) {
    this.#options = options;
    this.#probeMs = probeMs;
  }

  /** When to ask again; undefined when a call may be made now, which is a probe while the circuit is open. */
  blockedUntil(now: number): number | undefined {
    if (this.#openMs === 0) return undefined;
    if (now < this.#openUntil) return this.#openUntil;
    return now < this.#probeUntil ? now + PROBE_POLL : undefined;
  }

  /** To be called right before a call that `blockedUntil` allowed. */
  began(now: number): void {
    if (this.#openMs > 0) this.#probeUntil = now + this.#probeMs;
  }

  /** What was begun has asked nothing after all: another call may probe. */
  released(): void {
    this.#probeUntil = 0;
  }

  /** The provider answered something about the message: it works. True when that closed the circuit. */
  worked(): boolean {
    const wasOpen = this.#openMs > 0;
    this.#failures = 0;
    this.#openMs = 0;
    return wasOpen;
  }

  /** A fault of the provider's own. Answers until when the circuit is open now, where this opened it. */
  failed(now: number, startedAt: number = now): number | undefined {
    this.#failures += 1;
    const probed = this.#openMs > 0 && startedAt >= this.#openUntil;
    // Calls that had begun before it opened say nothing new.
    if (this.#openMs > 0 && !probed) return undefined;
    if (!probed && this.#failures < this.#options.failures) return undefined;
    const { openMs, maxOpenMs } = this.#options;
    this.#openMs = probed ? Math.min(this.#openMs * 2, maxOpenMs) : openMs;
    this.#openUntil = now + this.#openMs;
    this.#probeUntil = 0;
    return this.#openUntil;
  }
}
