import type { Clock } from '../domain/clock.ts';
import type { Status } from '../domain/notification.ts';
import { cancelled, requestCancel } from '../domain/transitions.ts';
import { CarillonError } from '../errors.ts';
import type { Events } from '../events.ts';
import type { Rows } from './rows.ts';

export interface Cancelled {
  readonly result: 'cancelled' | 'requested' | 'too_late';
  readonly status: Status;
}

/**
 * Cancels what no provider was asked for yet. While one is being called it can only be asked: the worker honours it for
 * any outcome but sent. @throws NOTIFICATION_NOT_FOUND
 */
export async function cancelNotification(
  where: { readonly tenant: string; readonly id: string },
  { rows, clock, events }: { readonly rows: Rows; readonly clock: Clock; readonly events: Events },
): Promise<Cancelled> {
  for (;;) {
    const row = await rows.get(where.id);
    if (row?.spec.tenant !== where.tenant) throw notFound(where.id);
    const { status, reason, cancelRequested } = row.state;
    if (status === 'cancelled') return { result: reason === 'cancelled_by_caller' ? 'cancelled' : 'too_late', status };
    if (status === 'processing' && cancelRequested) return { result: 'requested', status };
    if (status !== 'pending' && status !== 'queued' && status !== 'processing') return { result: 'too_late', status };
    const now = clock.now();
    const after = status === 'processing' ? requestCancel(row, now) : cancelled(row, 'cancelled_by_caller', now);
    // A lost race means that the row moved on: look again.
    if (!(await rows.writeOne(row, after))) continue;
    if (after.state.status === 'cancelled') events.settled(after.spec, after.state);
    return { result: status === 'processing' ? 'requested' : 'cancelled', status: after.state.status };
  }
}

export function notFound(id: string): CarillonError {
  return new CarillonError('NOTIFICATION_NOT_FOUND', 'there is no notification with this id', { metadata: { id } });
}
