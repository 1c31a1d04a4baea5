/**
 * The load generator, a process of its own: `node bench/load.ts '<JSON of LoadOptions>'` prints one JSON line. It speaks raw
 * grpc-js with messages encoded once, so that it costs the two cores as little as it can.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials } from '@grpc/grpc-js';
import { Channel } from '../gen/carillon/v1/notification_pb.js';
import {
  BatchSendNotificationsRequestSchema,
  BatchSendNotificationsResponseSchema,
  SendNotificationRequestSchema,
  SendNotificationResponseSchema,
  SendNotificationStreamRequestSchema,
  SendNotificationStreamResponseSchema,
} from '../gen/carillon/v1/notification_service_pb.js';
import type { SendNotificationRequest } from '../gen/carillon/v1/notification_service_pb.js';
import { quantile } from './measure.ts';

export interface LoadOptions {
  readonly address: string;
  readonly mode: 'unary' | 'batch' | 'stream';
  /** Notifications in all. */
  readonly count: number;
  /** Calls, or for a stream notifications, under way at a time. */
  readonly inFlight: number;
  /** Notifications per call of a batch. */
  readonly batch: number;
  /** At most so many notifications per second; 0: as fast as answers come. */
  readonly rate: number;
}

export interface LoadResult {
  readonly perSecond: number;
  /** Milliseconds from the call to its answer. */
  readonly p50: number;
  readonly p99: number;
}

const SERVICE = '/carillon.v1.NotificationService';
const BATCH_SIZE_LIMIT = 64 * 1024 * 1024;

export function sampleRequest(): SendNotificationRequest {
  return create(SendNotificationRequestSchema, {
    notification: {
      type: 'password_reset',
      channels: [Channel.EMAIL],
      recipient: { id: 'customer-7', email: 'ada@example.com', firstName: 'Ada' },
      data: { reset_url: 'https://shop.example/reset/0f8fad5b-d9cb-469f-a165-70867728950e' },
      metadata: { order: '1042' },
    },
  });
}

type Answered = (refused: number) => void;

/** A way to send a number of notifications; calls back with how many of them were refused. */
interface Sender {
  readonly send: (answered: Answered) => void;
  /** Nothing more is sent. */
  readonly end: () => void;
}

const keep = (bytes: Buffer): Buffer => bytes;

function unary(client: Client): Sender {
  const request = Buffer.from(toBinary(SendNotificationRequestSchema, sampleRequest()));
  const send = (answered: Answered): void => {
    client.makeUnaryRequest(`${SERVICE}/SendNotification`, keep, keep, request, (error, reply) => {
      if (error) throw error;
      if (reply) fromBinary(SendNotificationResponseSchema, reply);
      answered(0);
    });
  };
  return { send, end: () => {} };
}

function batch(client: Client, size: number): Sender {
  const message = create(BatchSendNotificationsRequestSchema, {
    requests: Array.from({ length: size }, sampleRequest),
  });
  const request = Buffer.from(toBinary(BatchSendNotificationsRequestSchema, message));
  const send = (answered: Answered): void => {
    client.makeUnaryRequest(`${SERVICE}/BatchSendNotifications`, keep, keep, request, (error, reply) => {
      if (error) throw error;
      const { results } = fromBinary(BatchSendNotificationsResponseSchema, reply ?? Buffer.alloc(0));
      answered(results.filter(({ result }) => result.case !== 'accepted').length);
    });
  };
  return { send, end: () => {} };
}

function stream(client: Client): Sender {
  const message = create(SendNotificationStreamRequestSchema, { sequence: 1n, request: sampleRequest() });
  const request = Buffer.from(toBinary(SendNotificationStreamRequestSchema, message));
  const call = client.makeBidiStreamRequest(`${SERVICE}/SendNotificationStream`, keep, keep);
  const waiting: Answered[] = [];
  call.on('data', (reply: Buffer) => {
    const { result } = fromBinary(SendNotificationStreamResponseSchema, reply);
    waiting.shift()?.(result?.result.case === 'accepted' ? 0 : 1);
  });
  const send = (answered: Answered): void => {
    waiting.push(answered);
    call.write(request);
  };
  return { send, end: () => call.end() };
}

async function run(options: LoadOptions): Promise<LoadResult> {
  const client = new Client(options.address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': BATCH_SIZE_LIMIT,
    'grpc.max_send_message_length': BATCH_SIZE_LIMIT,
  });
  const perCall = options.mode === 'batch' ? options.batch : 1;
  const calls = Math.ceil(options.count / perCall);
  const { send, end } =
    options.mode === 'unary' ? unary(client) : options.mode === 'batch' ? batch(client, perCall) : stream(client);
  const latencies: number[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const startedAt = performance.now();
  let started = 0;
  const start = (): void => {
    if (started >= calls) return;
    started++;
    const before = performance.now();
    send((refused) => {
      if (refused > 0) reject(new Error(`${refused} notifications were refused`));
      latencies.push(performance.now() - before);
      if (latencies.length === calls) resolve();
      else if (options.rate === 0) start();
    });
  };
  let pacer: NodeJS.Timeout | undefined;
  if (options.rate === 0) {
    for (let i = 0; i < options.inFlight; i++) start();
  } else {
    pacer = setInterval(() => {
      const due = ((performance.now() - startedAt) / 1_000) * options.rate;
      while (started < calls && started * perCall < due) start();
    }, 5);
  }
  await promise;
  clearInterval(pacer);
  const seconds = (performance.now() - startedAt) / 1_000;
  end();
  client.close();
  return { perSecond: (calls * perCall) / seconds, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) };
}

const [, main, argument] = process.argv;
if (main === import.meta.filename && argument !== undefined) {
  // The one caller is `bench/processes.ts`, which wrote it from LoadOptions.
  const result = await run(JSON.parse(argument) as LoadOptions);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
