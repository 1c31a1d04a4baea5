import { laneName } from '../../src/domain/notification.ts';
import type { Lane } from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import type { Answer, ConsumeOptions, Hint, Job, Queue } from '../../src/queue/queue.ts';

/** A queue whose every answer a test decides. */
export class FakeQueue implements Queue {
  away = false;
  readonly fullLanes = new Set<string>();
  /** By the name of the lane. */
  readonly undelivered = new Map<string, number>();
  readonly published: Hint[] = [];
  readonly consumers = new Map<string, ConsumeOptions>();

  #reach(): void {
    if (this.away) throw new CarillonError('QUEUE_UNAVAILABLE', 'the queue is away');
  }

  async ping(): Promise<void> {
    this.#reach();
  }

  async publish(hints: readonly Hint[]): Promise<('stored' | 'full')[]> {
    this.#reach();
    return hints.map((hint) => {
      if (this.fullLanes.has(laneName(hint.lane))) return 'full';
      this.published.push(hint);
      return 'stored';
    });
  }

  consume(lane: Lane, options: ConsumeOptions): void {
    this.consumers.set(laneName(lane), options);
  }

  async firstUndelivered(lane: Lane): Promise<number | undefined> {
    this.#reach();
    return this.undelivered.get(laneName(lane));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.consumers.clear();
  }
}

/** A job that keeps its answers. */
export class FakeJob implements Job {
  readonly hint: Hint;
  readonly deliveries: number;
  readonly answers: Answer[] = [];

  constructor(hint: Hint, deliveries: number = 1) {
    this.hint = hint;
    this.deliveries = deliveries;
  }

  answer(answer: Answer): void {
    this.answers.push(answer);
  }
}
