import type { Clock } from '../domain/clock.ts';
import type { Notification } from '../domain/notification.ts';
import { redrive } from '../domain/transitions.ts';
import type { ListQuery, Storage } from '../storage/storage.ts';
import type { Dispatcher } from './dispatch.ts';
import type { Rows } from './rows.ts';

export interface RedriveRequest {
  readonly tenant: string;
  /** These ones, or else those that the query finds. */
  readonly ids?: readonly string[];
  readonly query?: Omit<ListQuery, 'tenant' | 'limit'>;
  /** Empty: any reason. */
  readonly reasons: readonly string[];
  readonly dryRun: boolean;
  readonly limit: number;
}

export interface Redriven {
  readonly ids: readonly string[];
  /** Goes on below this id; not set when every match was looked at. */
  readonly belowId?: string;
}

export interface RedriveOptions {
  readonly storage: Storage;
  readonly rows: Rows;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  /** Milliseconds. What settled longer ago may have lost its content and is left alone. */
  readonly contentMs: number;
}

/** FAILED notifications in a new run. One that another call re-drives at the same time is driven once. */
export async function redriveNotifications(request: RedriveRequest, options: RedriveOptions): Promise<Redriven> {
  const { storage, rows, dispatcher, clock } = options;
  const { tenant, limit } = request;
  const found = request.ids ? await storage.find(request.ids) : await storage.list({ ...request.query, tenant, limit });
  const now = clock.now();
  const chosen = found.filter((row) => row.spec.tenant === tenant && canRedrive(row, request.reasons, now, options));
  const last = found.at(-1);
  const more = !request.ids && last && found.length === limit ? { belowId: last.spec.id } : {};
  if (request.dryRun || chosen.length === 0) return { ids: chosen.map((row) => row.spec.id), ...more };

  const writes = chosen.map((before) => ({ before, after: redrive(before, now) }));
  const won = await rows.write(writes);
  const driven = writes.filter((_, index) => won[index]).map(({ after }) => after);
  dispatcher.dispatch(driven);
  return { ids: driven.map((row) => row.spec.id), ...more };
}

function canRedrive(
  { spec, state }: Notification,
  reasons: readonly string[],
  now: number,
  options: RedriveOptions,
): boolean {
  const { reason } = state;
  return (
    state.status === 'failed' &&
    (reasons.length === 0 || (reason !== undefined && reasons.includes(reason))) &&
    (spec.expiresAt === undefined || spec.expiresAt > now) &&
    state.updatedAt > now - options.contentMs
  );
}
