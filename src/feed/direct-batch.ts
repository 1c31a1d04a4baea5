import type { StoredMsg } from '@nats-io/jetstream';

import { REQUEST_TIMEOUT_MS } from '../queue/nats.ts';
import type { Nats } from '../queue/nats.ts';

export interface BatchRequest {
  readonly seq: number;
  readonly next_by_subj: string;
  readonly batch: number;
}

const NOT_FOUND = 404;

/**
 * Reads messages in one request. By callback: the library's iterator never ends its subscription. With a time-out of its
 * own: the library has none once the first message came.
 */
export async function directBatch({ manager }: Nats, stream: string, request: BatchRequest): Promise<StoredMsg[]> {
  const messages: StoredMsg[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<StoredMsg[]>();
  const iterator = await manager.direct.getBatch(stream, {
    ...request,
    callback: (done, message) => {
      if (!done) messages.push(message);
      else if (!done.err || isNotFound(done.err)) resolve(messages);
      else reject(done.err);
    },
  });
  const timer = setTimeout(() => {
    reject(new Error('the server did not answer in time'));
    iterator.stop();
  }, REQUEST_TIMEOUT_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

function isNotFound(error: Error): boolean {
  return 'code' in error && error.code === NOT_FOUND;
}
