import type { PubAck } from '@nats-io/jetstream';

import { CarillonError } from '../errors.ts';
import type { ErrorReason } from '../errors.ts';
import { REQUEST_TIMEOUT_MS, unavailable } from './nats.ts';
import type { Nats } from './nats.ts';

/** Messages without an answer at a time; beyond it throughput falls again. */
const WINDOW = 256;
/** What is left of the time for the answer, at least, when a message had to wait for its turn. */
const LEAST_TIMEOUT_MS = 250;

export interface Message {
  readonly subject: string;
  readonly body: string;
  /** The server drops a message with the id of one that it has seen in the last two minutes. */
  readonly id: string;
}

/** Stores messages in a stream, many at a time on the one connection, in the order of the calls. */
export class StreamPublisher {
  readonly #nats: Nats;
  readonly #reason: ErrorReason;
  readonly #turns: (() => void)[] = [];
  #underWay = 0;

  constructor(nats: Nats, reason: ErrorReason) {
    this.#nats = nats;
    this.#reason = reason;
  }

  /**
   * Resolves when the server has stored it.
   *
   * @throws CarillonError within about two seconds, with the server's refusal as its cause where it gave one.
   */
  async publish({ subject, body, id }: Message): Promise<PubAck> {
    const deadline = Date.now() + REQUEST_TIMEOUT_MS;
    if (this.#underWay >= WINDOW) await new Promise<void>((turn) => this.#turns.push(turn));
    else this.#underWay += 1;
    try {
      const left = deadline - Date.now();
      if (left <= 0 || !this.#nats.connected) throw new CarillonError(this.#reason, 'NATS cannot be reached');
      // A publication that the connection lost is not answered at all, so the time-out is what ends it.
      const timeout = Math.max(left, LEAST_TIMEOUT_MS);
      return await this.#nats.js.publish(subject, body, { msgID: id, timeout });
    } catch (thrown) {
      throw unavailable(this.#reason, thrown);
    } finally {
      const turn = this.#turns.shift();
      if (turn) turn();
      else this.#underWay -= 1;
    }
  }
}
