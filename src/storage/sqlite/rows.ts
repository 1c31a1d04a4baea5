/** Between the domain's notifications and the columns of their tables. */
import { isFinal, laneName, laneOf, type Notification, STATUSES } from '../../domain/notification.ts';
import type { NotificationState, RenderedContent } from '../../domain/notification.ts';
import { currentParts, parseSpec } from '../stored-row.ts';
import { number, type Row, text, type Values } from './statements.ts';

/** `from` is the table `notification n`, with what there is to say about its index. */
export const selectRows = (from = 'notification n'): string => `
  SELECT n.published, n.wake_at, n.state, s.body AS spec, r.body AS rendered
  FROM ${from} JOIN spec s ON s.row = n.row LEFT JOIN rendered r ON r.row = n.row`;

/** For `status IN (…)`: the words are our own, so they need no binding. */
export const FINAL_STATUSES = STATUSES.filter((status) => isFinal(status))
  .map((status) => `'${status}'`)
  .join(', ');

/** In the order of the columns in the INSERT. */
export function insertValues(row: Notification): Values {
  const { spec, state } = row;
  return [
    spec.id,
    spec.tenant,
    spec.groupId,
    spec.recipient.id ?? null,
    laneName(laneOf(row)),
    state.version,
    state.published,
    state.status,
    state.wakeAt ?? null,
    state.updatedAt,
    stateText(state),
  ];
}

/** `published` and `wakeAt` stand in columns alone: clearing and postponing move them without touching the rest. */
export function stateText(state: NotificationState): string {
  const { published: _published, wakeAt: _wakeAt, ...rest } = state;
  return JSON.stringify(rest);
}

// The casts below: these texts were written by this adapter from values of these very types.

export function notificationOf(row: Row): Notification {
  const spec = parseSpec(text(row, 'spec'));
  const rest = JSON.parse(text(row, 'state')) as Omit<NotificationState, 'published' | 'wakeAt'>;
  const state: NotificationState = {
    ...rest,
    ...currentParts(rest),
    published: number(row, 'published'),
    ...(row['wake_at'] === null ? {} : { wakeAt: number(row, 'wake_at') }),
  };
  if (row['rendered'] === null) return { spec, state };
  return { spec, state, rendered: JSON.parse(text(row, 'rendered')) as RenderedContent };
}
