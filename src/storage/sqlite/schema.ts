/** The tables of the one SQLite file, and how an older file becomes a newer one. */
import type { DatabaseSync } from 'node:sqlite';
import { CarillonError } from '../../errors.ts';

/**
 * Each entry brings the file from the version of its index to the next. An entry that was ever released is never changed.
 * Times are REAL, as a caller may compute fractions of a millisecond; SQLite stores whole ones as integers all the same.
 */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  -- SQLite writes a whole record anew when any column of it changes. So what is large and lasting, the spec and the
  -- rendered content, has tables of its own, and a claim of a mail with a megabyte of HTML writes a few hundred bytes.
  CREATE TABLE notification (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    group_id TEXT NOT NULL,
    recipient_id TEXT,
    lane TEXT NOT NULL,
    version INTEGER NOT NULL,
    published INTEGER NOT NULL,
    status TEXT NOT NULL,
    wake_at REAL,
    updated_at REAL NOT NULL,
    -- 1 when retention has taken the content.
    erased INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL
  ) STRICT;
  CREATE TABLE spec (
    row INTEGER PRIMARY KEY REFERENCES notification ON DELETE CASCADE,
    body TEXT NOT NULL
  ) STRICT;
  CREATE TABLE rendered (
    row INTEGER PRIMARY KEY REFERENCES notification ON DELETE CASCADE,
    body TEXT NOT NULL
  ) STRICT;

  -- One index for each way to list. All end in the id, so that a page is a range of the index, newest first, unsorted.
  CREATE INDEX notification_by_time ON notification (tenant, id);
  CREATE INDEX notification_by_recipient ON notification (tenant, recipient_id, id) WHERE recipient_id IS NOT NULL;
  CREATE INDEX notification_by_group ON notification (tenant, group_id, id);
  CREATE INDEX notification_by_status ON notification (tenant, status, id);
  -- The scheduler's. Partial, because most rows want nothing any more.
  CREATE INDEX notification_wake ON notification (wake_at) WHERE wake_at IS NOT NULL;
  -- The bounded count of a lane's backlog. Partial, because few rows are queued at any moment.
  CREATE INDEX notification_queued ON notification (lane) WHERE status = 'queued';

  CREATE TABLE attachment (
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    content_id TEXT,
    content BLOB NOT NULL,
    PRIMARY KEY (id, position)
  ) STRICT;

  CREATE TABLE idempotency_key (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
  ) STRICT;
  CREATE INDEX idempotency_key_end ON idempotency_key (expires_at);

  CREATE TABLE rate_limit (name TEXT PRIMARY KEY, arrival REAL NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) STRICT, WITHOUT ROWID;

  -- A job is ready, taken by this process, or delayed until ready_at. The notification's id and the version it was
  -- enqueued under are the message id.
  CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    notification_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    lane TEXT NOT NULL,
    enqueued_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'ready',
    ready_at REAL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    UNIQUE (notification_id, version)
  ) STRICT;
  -- Claims read the front of a lane: without taken and delayed jobs in the index, a claim costs the same however many
  -- of them there are.
  CREATE INDEX job_ready ON job (lane, seq) WHERE state = 'ready';
  CREATE INDEX job_delayed ON job (ready_at) WHERE state = 'delayed';

  -- No index but the order itself: three events are written per notification, and only a watcher that resumes reads them.
  -- AUTOINCREMENT: a number is never used twice, not even after retention has emptied the table.
  CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    group_id TEXT NOT NULL,
    notification_id TEXT NOT NULL,
    stored_at REAL NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  `,
  `
  CREATE TABLE receipt (
    id TEXT NOT NULL PRIMARY KEY,
    notification_id TEXT NOT NULL,
    at REAL NOT NULL,
    received_at REAL NOT NULL,
    wake_at REAL,
    body TEXT NOT NULL
  ) STRICT;
  -- Partial, because nearly all receipts are applied, and every settle looks for those of its row that are not.
  CREATE INDEX receipt_open ON receipt (notification_id) WHERE wake_at IS NOT NULL;
  CREATE INDEX receipt_wake ON receipt (wake_at) WHERE wake_at IS NOT NULL;
  CREATE INDEX receipt_received ON receipt (received_at);

  -- The category '' stands for all. Without a rowid, as nearly every look-up is one by address: it reads one tree, not two.
  CREATE TABLE suppression (
    address_hash TEXT NOT NULL,
    category TEXT NOT NULL,
    reason TEXT NOT NULL,
    tenant TEXT NOT NULL,
    channel TEXT NOT NULL,
    said_at REAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (address_hash, category, reason)
  ) STRICT, WITHOUT ROWID;
  -- One index for each way to list, in the order of the list.
  CREATE INDEX suppression_by_tenant ON suppression (tenant, address_hash, category, reason);
  CREATE INDEX suppression_by_channel ON suppression (tenant, channel, address_hash, category, reason);

  CREATE TABLE secret (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
];

/** Brings the file up to the version this code knows. Throws CarillonError STORE_UNAVAILABLE when the file is newer. */
export function migrate(db: DatabaseSync): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version']);
  if (version > MIGRATIONS.length) {
    throw new CarillonError(
      'STORE_UNAVAILABLE',
      `the database has version ${version}, written by a newer release; this one knows ${MIGRATIONS.length}`,
    );
  }
  for (const [index, sql] of MIGRATIONS.entries()) {
    // In one transaction, so that a crash half way leaves the old version whole.
    if (index >= version) db.exec(`BEGIN IMMEDIATE; ${sql}; PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}
