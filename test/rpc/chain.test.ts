import { create, type Message } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';

import {
  GetNotificationRequestSchema,
  GetNotificationResponseSchema,
  NotificationService,
  SendNotificationRequestSchema,
  SendNotificationResponseSchema,
} from '../../gen/carillon/v1/notification_service_pb.js';
import { CarillonError } from '../../src/errors.ts';
import { createAuthenticate } from '../../src/rpc/auth.ts';
import { type BoundMethod, Chain, type IncomingCall } from '../../src/rpc/chain.ts';
import type { CallContext, MethodHandler, ServiceImplementation } from '../../src/rpc/handler.ts';
import { SOME_ID, validSend } from '../support/rpc-notifications.ts';
import { failureOf, startRpc } from '../support/rpc-server.ts';
import { syntheticMethod } from '../support/rpc-synthetic.ts';
import { soon } from '../support/rpc-waiting.ts';

interface Bench {
  readonly draining: AbortController;
  readonly reported: CarillonError[];
  bind<K extends MethodHandler['kind']>(
    handler: Extract<MethodHandler, { kind: K }>,
  ): Extract<BoundMethod, { kind: K }>;
}

function bench(maxStreams = 10): Bench {
  const draining = new AbortController();
  const reported: CarillonError[] = [];
  const chain = new Chain({
    authenticate: createAuthenticate([]),
    maxStreams,
    draining: draining.signal,
    onError: (_: CallContext, error) => reported.push(error),
  });
  return {
    draining,
    reported,
    // `bind` keeps the kind.
    bind: (handler) => chain.bind(handler) as never,
  };
}

const incoming = (): IncomingCall => ({ protocol: 'grpc', header: () => undefined, controller: new AbortController() });

async function reasonOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'answered',
    (thrown: unknown) => CarillonError.from(thrown).reason,
  );
}

type Unary = Extract<MethodHandler, { kind: 'unary' }>;

const send = (handle: Unary['handle']): Unary => ({
  kind: 'unary',
  method: NotificationService.method.sendNotification,
  handle,
});

async function* ids(...values: string[]): AsyncGenerator<Message> {
  for (const id of values) yield create(GetNotificationRequestSchema, { id });
}

describe('the chain', () => {
  const request = create(SendNotificationRequestSchema, validSend);

  it('takes no new calls once it drains, and lets those in flight finish', async () => {
    const { bind, draining } = bench();
    const go = Promise.withResolvers<{ groupId: string }>();
    const method = bind(send(() => go.promise));
    const inFlight = method.handle(request, incoming());
    draining.abort();
    expect(await reasonOf(method.handle(request, incoming()))).to.equal('SHUTTING_DOWN');
    go.resolve({ groupId: SOME_ID });
    expect(await soon(inFlight)).to.deep.equal(create(SendNotificationResponseSchema, { groupId: SOME_ID }));
  });

  it('does not start the handler of a call that was cancelled before', async () => {
    let started = false;
    const { bind } = bench();
    const method = bind(
      send(async () => {
        started = true;
        return {};
      }),
    );
    const call = incoming();
    call.controller.abort(new CarillonError('CALL_CANCELLED', 'gone'));
    expect(await reasonOf(method.handle(request, call))).to.equal('CALL_CANCELLED');
    expect(started).to.equal(false);
  });

  it('ends a call with the reason of the abort, whatever the handler throws because of it', async () => {
    const { bind, reported } = bench();
    const method = bind(
      send(
        (_, { signal }) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('echo')))),
      ),
    );
    const call = incoming();
    const answer = reasonOf(method.handle(request, call));
    await Promise.resolve();
    call.controller.abort(new CarillonError('DEADLINE_EXCEEDED', 'late'));
    expect(await soon(answer)).to.equal('DEADLINE_EXCEEDED');
    expect(reported).to.deep.equal([]);
  });

  it('answers INTERNAL and reports it when a handler throws before it waits', async () => {
    const { bind, reported } = bench();
    const cause = new Error('at once');
    const method = bind(
      send(() => {
        throw cause;
      }),
    );
    expect(await reasonOf(method.handle(request, incoming()))).to.equal('INTERNAL');
    expect(reported.map((error) => error.cause)).to.deep.equal([cause]);
  });

  it('ends a bidirectional stream with the violation of one of its messages', async () => {
    const { bind } = bench();
    const seen: Message[] = [];
    const method = bind({
      kind: 'bidi_streaming',
      method: syntheticMethod('bidi_streaming'),
      async *handle(requests) {
        for await (const message of requests) {
          seen.push(message);
          yield create(GetNotificationResponseSchema);
        }
      },
    });
    const answers = method.handle(ids(SOME_ID, 'not a uuid', SOME_ID), incoming())[Symbol.asyncIterator]();
    expect((await answers.next()).done).to.equal(false);
    const failure = await answers.next().then(
      () => undefined,
      (thrown: unknown) => CarillonError.from(thrown),
    );
    expect(failure).to.include({ reason: 'INVALID_FIELD' });
    expect(failure?.violations.map(({ field }) => field)).to.deep.equal(['id']);
    expect(seen).to.have.length(1);
  });

  it('ends its handler, and counts the stream no more, when the reader of a stream stops', async () => {
    const { bind } = bench(1);
    const ended = Promise.withResolvers<void>();
    const method = bind({
      kind: 'server_streaming',
      method: NotificationService.method.watchNotifications,
      async *handle() {
        try {
          for (;;) yield {};
        } finally {
          ended.resolve();
        }
      },
    });
    const watch = (): AsyncIterable<Message> =>
      method.handle(create(NotificationService.method.watchNotifications.input), incoming());
    for (let i = 0; i < 3; i++) {
      for await (const first of watch()) {
        expect(first.$typeName).to.equal('carillon.v1.WatchNotificationsResponse');
        break;
      }
    }
    await soon(ended.promise);
  });

  it('reports a handler whose clean-up fails after its stream was left', async () => {
    const { bind, reported } = bench();
    const method = bind({
      kind: 'server_streaming',
      method: NotificationService.method.watchNotifications,
      async *handle() {
        try {
          yield {};
        } finally {
          await Promise.reject(new Error('clean-up'));
        }
      },
    });
    for await (const _ of method.handle(create(NotificationService.method.watchNotifications.input), incoming())) break;
    await new Promise((resolve) => setImmediate(resolve));
    expect(reported.map(({ cause }) => (cause as Error).message)).to.deep.equal(['clean-up']);
  });
});

describe('client streaming', () => {
  const method = syntheticMethod('client_streaming');

  const collecting: ServiceImplementation = {
    service: method.parent,
    methods: [
      {
        kind: 'client_streaming',
        method,
        async handle(requests) {
          let count = 0;
          for await (const _ of requests) count += 1;
          return { notification: { version: BigInt(count) } };
        },
      },
    ],
  };

  for (const protocol of ['gRPC', 'gRPC-Web', 'Connect'] as const) {
    it(`takes many messages and answers once over ${protocol}`, async () => {
      await using rpc = await startRpc({}, { services: [collecting] });
      const transport = rpc.transport(protocol);
      const answer = await transport.stream(method, undefined, undefined, undefined, ids(SOME_ID, SOME_ID));
      const messages: Message[] = [];
      for await (const message of answer.message) messages.push(message);
      expect(messages).to.deep.equal([create(GetNotificationResponseSchema, { notification: { version: 2n } })]);
    });

    it(`refuses a message that breaks the rules over ${protocol}`, async () => {
      await using rpc = await startRpc({}, { services: [collecting] });
      const call = async (): Promise<void> => {
        const { message } = await rpc
          .transport(protocol)
          .stream(method, undefined, undefined, undefined, ids(SOME_ID, 'x'));
        for await (const _ of message) break;
      };
      expect(await failureOf(call())).to.deep.include({
        code: Code[Code.InvalidArgument],
        reason: 'INVALID_FIELD',
        fields: ['id'],
      });
    });
  }

  it('names the reason when a message in the stream is too large over Connect, whose messages our code reads', async () => {
    await using rpc = await startRpc({}, { services: [collecting], maxMessageBytes: 1_000 });
    const call = async (): Promise<void> => {
      const { message } = await rpc
        .transport('Connect')
        .stream(method, undefined, undefined, undefined, ids(SOME_ID, 'x'.repeat(2_000)));
      for await (const _ of message) break;
    };
    expect(await failureOf(call())).to.include({
      code: Code[Code.ResourceExhausted],
      reason: 'MESSAGE_TOO_LARGE',
    });
  });
});
