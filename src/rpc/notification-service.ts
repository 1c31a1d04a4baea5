/** NotificationService: from the API's messages to the pipeline and back. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { NotificationInput } from '../../gen/carillon/v1/notification_pb.js';
import {
  NotificationService,
  SendNotificationRequestSchema,
  Verdict as ProtoVerdict,
} from '../../gen/carillon/v1/notification_service_pb.js';
import type {
  ExplanationSchema,
  NotificationFilter,
  RetryNotificationsRequest,
  SendNotificationRequest,
  SendNotificationResponseSchema,
  SendResultSchema,
} from '../../gen/carillon/v1/notification_service_pb.js';
import { CarillonError, invalidField, isOwnFault } from '../errors.ts';
import type { Accepted, Acceptor, SendRequest } from '../pipeline/accept.ts';
import { cancelNotification, notFound } from '../pipeline/cancel.ts';
import type { Clock } from '../domain/clock.ts';
import type { Events } from '../events.ts';
import { explain } from '../pipeline/explain.ts';
import type { ExplainOptions, Explanation } from '../pipeline/explain.ts';
import { redriveNotifications } from '../pipeline/redrive.ts';
import type { RedriveOptions, RedriveRequest } from '../pipeline/redrive.ts';
import type { Rows } from '../pipeline/rows.ts';
import type { WatchHub } from '../pipeline/watch.ts';
import type { ListQuery, Storage } from '../storage/storage.ts';
import { mapConcurrently } from './concurrent.ts';
import { fromEvent, fromNotification, fromRendered, toRequest } from './convert.ts';
import { cancelResultTo, channelTo, layerTo, reasonFrom, reasonTo, statusFrom, statusTo } from './enums.ts';
import { implement } from './handler.ts';
import type { CallContext, ServiceImplementation } from './handler.ts';
import { toStatus } from './status.ts';
import { createValidate } from './validate.ts';

const DEFAULT_PAGE = 20;
const DEFAULT_RETRY_LIMIT = 1_000;
/** Sends of one stream that are accepted at a time. */
const STREAM_WINDOW = 256;

export interface NotificationServiceOptions {
  readonly acceptor: Acceptor;
  readonly storage: Storage;
  readonly rows: Rows;
  readonly hub: WatchHub;
  readonly clock: Clock;
  readonly events: Events;
  readonly explain: ExplainOptions;
  readonly redrive: RedriveOptions;
}

export function createNotificationService(options: NotificationServiceOptions): ServiceImplementation {
  const { acceptor, storage, hub } = options;
  const validate = createValidate();

  /** Items of a batch or stream are checked one by one, so that a bad one refuses only itself. */
  const toSend = (request: SendNotificationRequest | undefined, tenant: string): SendRequest => {
    if (!request) throw invalidField('request', 'is required');
    validate(SendNotificationRequestSchema, request);
    return sendRequest(request, tenant);
  };

  /** An item's error is its answer and does not end the call, so the chain never sees it. */
  const toResult = (result: Accepted | CarillonError | undefined, context: CallContext): SendResultInit => {
    const answer = result ?? CarillonError.from(undefined);
    if (answer instanceof CarillonError && isOwnFault(answer)) options.events.callFailed(context, answer);
    return fromResult(answer);
  };

  return implement(NotificationService, {
    async sendNotification(request, { tenant }) {
      return fromAccepted(await acceptor.acceptOne(sendRequest(request, tenant)));
    },

    async batchSendNotifications({ requests }, context) {
      const checked = requests.map((request) => attempt(() => toSend(request, context.tenant)));
      const good = checked.filter((item): item is SendRequest => !(item instanceof CarillonError));
      const accepted = (await acceptor.accept(good)).values();
      const results = checked.map((item) => (item instanceof CarillonError ? item : accepted.next().value));
      return { results: results.map((result) => toResult(result, context)) };
    },

    async *sendNotificationStream(requests, context) {
      yield* mapConcurrently(requests, STREAM_WINDOW, async ({ sequence, request }) => {
        const send = attempt(() => toSend(request, context.tenant));
        const result = send instanceof CarillonError ? send : await acceptor.tryOne(send);
        return { sequence, result: toResult(result, context) };
      });
    },

    async getNotification({ id }, { tenant }) {
      const [row] = await storage.find([id.toLowerCase()]);
      if (row?.spec.tenant !== tenant) throw notFound(id);
      return { notification: fromNotification(row) };
    },

    async listNotifications({ filter, pageSize, pageToken }, { tenant }) {
      const limit = pageSize || DEFAULT_PAGE;
      const rows = await storage.list({ tenant, ...toQuery(filter, pageToken), limit });
      const last = rows.length === limit ? rows.at(-1)?.spec.id : undefined;
      return { notifications: rows.map(fromNotification), nextPageToken: last ? encodePage(last) : '' };
    },

    async cancelNotification({ id }, { tenant }) {
      const { result, status } = await cancelNotification({ tenant, id: id.toLowerCase() }, options);
      return { result: cancelResultTo[result], status: statusTo[status] };
    },

    async retryNotifications(request, { tenant }) {
      const { ids, belowId } = await redriveNotifications(toRedrive(request, tenant), options.redrive);
      return { ids: [...ids], nextPageToken: belowId ? encodePage(belowId) : '' };
    },

    async *watchNotifications(request, { tenant, signal }) {
      const filter = {
        tenant,
        notificationIds: request.notificationIds.map((id) => id.toLowerCase()),
        ...(request.groupId && { groupId: request.groupId.toLowerCase() }),
        ...(request.recipientId && { recipientId: request.recipientId }),
      };
      for await (const { event, token } of hub.watch(filter, request.afterToken || undefined, signal)) {
        yield { token, ...(event && { event: fromEvent(event) }) };
      }
    },

    async explainNotification({ notification }, { tenant }) {
      const explanations = await explain(tenant, toRequest(required(notification)), options.explain);
      return { explanations: explanations.map(fromExplanation) };
    },
  });
}

function attempt<T>(run: () => T): T | CarillonError {
  try {
    return run();
  } catch (thrown) {
    return CarillonError.from(thrown);
  }
}

function required(notification: NotificationInput | undefined): NotificationInput {
  if (!notification) throw invalidField('notification', 'is required');
  return notification;
}

function sendRequest({ notification, idempotencyKey }: SendNotificationRequest, tenant: string): SendRequest {
  return { tenant, request: toRequest(required(notification)), ...(idempotencyKey && { idempotencyKey }) };
}

function fromAccepted(accepted: Accepted): MessageInitShape<typeof SendNotificationResponseSchema> {
  return {
    groupId: accepted.groupId,
    watchToken: accepted.watchToken,
    notifications: accepted.notifications.map(({ id, channel, status, reason }) => ({
      id,
      channel: channelTo[channel],
      status: statusTo[status],
      ...(reason && { reason: reasonTo[reason] }),
    })),
  };
}

type SendResultInit = MessageInitShape<typeof SendResultSchema>;

function fromResult(result: Accepted | CarillonError): SendResultInit {
  if (!(result instanceof CarillonError)) return { result: { case: 'accepted', value: fromAccepted(result) } };
  const { code, message } = toStatus(result);
  const fieldViolations = result.violations.map(({ field, description }) => ({ field, description }));
  return { result: { case: 'error', value: { code, message, reason: result.reason, fieldViolations } } };
}

function toQuery(filter: NotificationFilter | undefined, pageToken: string): Omit<ListQuery, 'tenant' | 'limit'> {
  const status = filter && statusFrom[filter.status];
  return {
    ...(filter?.recipientId && { recipientId: filter.recipientId }),
    ...(filter?.groupId && { groupId: filter.groupId.toLowerCase() }),
    ...(status && { status }),
    ...(filter?.createdFrom && { from: timestampMs(filter.createdFrom) }),
    ...(filter?.createdBefore && { before: timestampMs(filter.createdBefore) }),
    ...(pageToken && { belowId: decodePage(pageToken) }),
  };
}

function toRedrive(request: RetryNotificationsRequest, tenant: string): RedriveRequest {
  const { selection, reasons, dryRun, limit, pageToken } = request;
  const shared = {
    tenant,
    reasons: reasons.flatMap((reason) => reasonFrom[reason] ?? []),
    dryRun,
    limit: limit || DEFAULT_RETRY_LIMIT,
  };
  if (selection.case === 'ids') return { ...shared, ids: selection.value.ids.map((id) => id.toLowerCase()) };
  const query = toQuery(selection.value, pageToken);
  // FAILED has an index of its own, which a list of one recipient or group does without.
  const narrow = query.recipientId || query.groupId || query.status ? query : { ...query, status: 'failed' as const };
  return { ...shared, query: narrow };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const encodePage = (id: string): string => Buffer.from(id.replaceAll('-', ''), 'hex').toString('base64url');

function decodePage(token: string): string {
  const hex = Buffer.from(token, 'base64url').toString('hex');
  const id = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  if (!UUID.test(id)) throw new CarillonError('PAGE_TOKEN_INVALID', 'the page token was not made by this service');
  return id;
}

function fromExplanation(e: Explanation): MessageInitShape<typeof ExplanationSchema> {
  const shared = {
    channel: channelTo[e.channel],
    providers: [...e.providers],
    detail: e.detail ?? '',
    ...(e.rendered && { renderedContent: fromRendered(e.rendered) }),
  };
  const { verdict } = e;
  switch (verdict.verdict) {
    case 'send':
      return { ...shared, verdict: ProtoVerdict.SEND };
    case 'hold':
      return {
        ...shared,
        verdict: ProtoVerdict.HOLD,
        reason: reasonTo[verdict.reason],
        layer: layerTo[verdict.layer],
        nextAllowedAt: timestampFromMs(verdict.until),
      };
    case 'cancel':
    case 'fail':
      return { ...shared, verdict: ProtoVerdict.DROP, reason: reasonTo[verdict.reason], layer: layerTo[verdict.layer] };
  }
}
