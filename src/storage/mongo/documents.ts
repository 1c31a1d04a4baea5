/**
 * The shapes of the documents. What a query, an index or a write of a single field needs is a field of its own; the rest of
 * a row is JSON text: callers' data may hold keys with dots, dollar signs and lone surrogates, which BSON refuses or changes
 * and JSON keeps, and the text costs a fraction of the CPU time of nested documents.
 */
import type { Binary, Collection } from 'mongodb';

import { laneName, laneOf } from '../../domain/notification.ts';
import type {
  Attachment,
  Channel,
  Notification,
  NotificationSpec,
  NotificationState,
  RenderedContent,
  Status,
} from '../../domain/notification.ts';
import type { SuppressionReason } from '../../domain/suppression.ts';
import type { KeyRecord } from '../storage.ts';
import { currentParts, parseSpec } from '../stored-row.ts';

export interface RowDocument {
  /** The notification's UUIDv7: ids sort by the time they were made. */
  _id: string;
  tenant: string;
  group_id: string;
  recipient_id?: string;
  status: Status;
  /** Only while QUEUED, so that the index over it holds just these rows. */
  lane?: string;
  version: number;
  published: number;
  updated_at: number;
  /** Unset when nothing is left to do. */
  wake_at?: number;
  /** Names the last compare-and-set, so that a bulk of them can find out which ones took place. */
  stamp?: string;
  /** NotificationSpec. */
  spec: string;
  /** StoredState. */
  state: string;
  /** RenderedContent. */
  rendered?: string;
  /** Retention has taken the content, or also the attachments. */
  erased?: 'content' | 'all';
}

export interface KeyDocument {
  /** SHA-256 of tenant and key. */
  _id: string;
  record: Omit<KeyRecord, 'expiresAt'>;
  expires_at: number;
}

export interface AttachmentsDocument {
  /** The notification's id. */
  _id: string;
  files: { filename: string; mime_type: string; content_id?: string; content: Binary }[];
}

export interface LimitDocument {
  _id: string;
  /** Theoretical arrival time. */
  tat: number;
}

export interface LeaseDocument {
  _id: string;
  holder: string;
  until: number;
}

export interface ReceiptDocument {
  /** The receipt's id. */
  _id: string;
  notification_id: string;
  received_at: number;
  /** Unset when it is applied. */
  wake_at?: number;
  /** Receipt. */
  body: string;
}

export interface SuppressionDocument {
  /** Address, category and reason: what it is unique by. */
  _id: string;
  tenant: string;
  channel: Channel;
  address_hash: string;
  /** Empty for all of them. */
  category: string;
  reason: SuppressionReason;
  said_at: number;
  /** Suppression, with the `saidAt` of its first time. */
  body: string;
}

export interface SecretDocument {
  _id: string;
  value: string;
}

export interface Collections {
  readonly rows: Collection<RowDocument>;
  readonly keys: Collection<KeyDocument>;
  readonly attachments: Collection<AttachmentsDocument>;
  readonly limits: Collection<LimitDocument>;
  readonly leases: Collection<LeaseDocument>;
  readonly receipts: Collection<ReceiptDocument>;
  readonly suppressions: Collection<SuppressionDocument>;
  readonly secrets: Collection<SecretDocument>;
}

/** What of a state has no field of its own. */
type StoredState = Omit<NotificationState, 'version' | 'published' | 'status' | 'wakeAt' | 'updatedAt'>;

/** The fields that a change of the row writes; those left undefined are to be unset. */
export interface MutableFields {
  readonly status: Status;
  readonly version: number;
  readonly published: number;
  readonly updated_at: number;
  readonly state: string;
  readonly lane: string | undefined;
  readonly wake_at: number | undefined;
}

export function mutableFields(row: Notification): MutableFields {
  const { version, published, status, wakeAt, updatedAt, ...rest } = row.state;
  const stored: StoredState = rest;
  return {
    status,
    version,
    published,
    updated_at: updatedAt,
    state: JSON.stringify(stored),
    lane: status === 'queued' ? laneName(laneOf(row)) : undefined,
    wake_at: wakeAt,
  };
}

export function toDocument(row: Notification): RowDocument {
  const { spec } = row;
  const { lane, wake_at, ...always } = mutableFields(row);
  return {
    _id: spec.id,
    tenant: spec.tenant,
    group_id: spec.groupId,
    ...(spec.recipient.id !== undefined && { recipient_id: spec.recipient.id }),
    ...always,
    ...(lane !== undefined && { lane }),
    ...(wake_at !== undefined && { wake_at }),
    spec: JSON.stringify(spec),
    ...(row.rendered && { rendered: JSON.stringify(row.rendered) }),
  };
}

export function toRow(document: RowDocument): Notification {
  // The texts are written by this file alone, from these very types.
  const spec = parseSpec(document.spec);
  const stored = JSON.parse(document.state) as StoredState;
  const rendered = document.rendered === undefined ? undefined : (JSON.parse(document.rendered) as RenderedContent);
  return {
    spec,
    state: {
      ...stored,
      ...currentParts(stored),
      version: document.version,
      published: document.published,
      status: document.status,
      updatedAt: document.updated_at,
      ...(document.wake_at !== undefined && { wakeAt: document.wake_at }),
    },
    ...(rendered && { rendered }),
  };
}

/** What is left of a spec after retention. */
export function erasedSpec(text: string): string {
  const { data: _data, content: _content, ...kept } = JSON.parse(text) as NotificationSpec;
  return JSON.stringify(kept);
}

export function toAttachment(file: AttachmentsDocument['files'][number]): Attachment {
  return {
    filename: file.filename,
    mimeType: file.mime_type,
    content: new Uint8Array(file.content.value()),
    ...(file.content_id !== undefined && { contentId: file.content_id }),
  };
}

/** Bytes of a document, for the size of a bulk: its texts, and something for the small fields. */
export function sizeOf(texts: { readonly spec?: string; readonly state: string; readonly rendered?: string }): number {
  return 300 + (texts.spec?.length ?? 0) + texts.state.length + (texts.rendered?.length ?? 0);
}
