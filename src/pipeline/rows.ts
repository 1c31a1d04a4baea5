/**
 * The one place where the pipeline writes rows: every write carries its event, and once it is in, the event is on its way.
 */
import type { Notification, RenderedContent } from '../domain/notification.ts';
import type { Change, Storage } from '../storage/storage.ts';
import type { Publisher } from './publish.ts';

/** A row and the next row computed from it. */
export interface Write {
  readonly before: Notification;
  readonly after: Notification;
  readonly rendered?: RenderedContent;
}

export class Rows {
  readonly #storage: Storage;
  readonly #publisher: Publisher;

  constructor(storage: Storage, publisher: Publisher) {
    this.#storage = storage;
    this.#publisher = publisher;
  }

  /** Inserts new rows. */
  async insert(rows: readonly Notification[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#storage.insert(rows);
    for (const row of rows) this.#publisher.publish(row);
  }

  /** Inserts rows that may be there already, and answers them as they stand. */
  async insertAgain(rows: readonly Notification[]): Promise<Notification[]> {
    if (rows.length === 0) return [];
    await this.#storage.insert(rows);
    const current = await this.#storage.find(rows.map((row) => row.spec.id));
    for (const row of current) this.#publisher.publish(row);
    return current;
  }

  /** Compare-and-set; answers per write whether it took place. See `Storage.update` for what `false` means. */
  async write(writes: readonly Write[]): Promise<boolean[]> {
    const changes = writes.map((write) => this.#change(write));
    const won = await this.#storage.update(changes);
    changes.forEach((change, index) => {
      if (won[index]) this.#publisher.publish(change.row);
    });
    return won;
  }

  async writeOne(before: Notification, after: Notification, rendered?: RenderedContent): Promise<boolean> {
    const [won] = await this.write([{ before, after, ...(rendered && { rendered }) }]);
    return won === true;
  }

  /** A write of this process took place without its answer: the events of the row as it was read go out. */
  adopt(row: Notification): void {
    this.#publisher.publish(row);
  }

  async get(id: string): Promise<Notification | undefined> {
    const [row] = await this.#storage.find([id]);
    return row;
  }

  /** What this process knows of acknowledged events goes into the write, so they need not be published again. */
  #change({ before, after, rendered }: Write): Change {
    const published = Math.max(after.state.published, this.#publisher.acked(after.spec.id));
    return {
      from: before.state.version,
      row: { ...after, state: { ...after.state, published } },
      ...(rendered && { rendered }),
    };
  }
}
