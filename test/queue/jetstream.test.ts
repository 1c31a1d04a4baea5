import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { connect } from '@nats-io/transport-node';
import { expect } from 'chai';

import type { Lane } from '../../src/domain/notification.ts';
import { CarillonError, isUnavailable } from '../../src/errors.ts';
import { openJetStream } from '../../src/queue/jetstream.ts';
import type { JetStream, JetStreamOptions } from '../../src/queue/jetstream.ts';
import type { Hint, Job } from '../../src/queue/queue.ts';
import { eventually } from '../support/eventually.ts';
import { aHint } from '../support/sample.ts';
import { natsMissing, startNats } from '../support/start-nats.ts';
import type { NatsServer } from '../support/start-nats.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const LANE: Lane = { channel: 'email', priority: 'high' };
const ACK_WAIT_MS = 1_500;
const hint = (version = 1): Hint => aHint({ lane: LANE, version });

describe('queue on JetStream', () => {
  let server: NatsServer;
  let stack: AsyncDisposableStack;
  let stop: AbortController;

  before(function () {
    if (natsMissing()) this.skip();
  });

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    stop = new AbortController();
    server = await startNats();
    stack.defer(() => server.stop());
  });

  afterEach(async () => {
    stop.abort();
    await stack.disposeAsync();
  });

  const open = async (options: Partial<JetStreamOptions> = {}): Promise<JetStream> =>
    stack.use(await openJetStream({ servers: [server.url], ackWaitMs: ACK_WAIT_MS, onProblem: () => {}, ...options }));

  /** Takes the jobs of the lane and answers them as told. */
  const consume = ({ queue }: JetStream, answer: (job: Job) => void = (job) => job.answer('done')): Job[] => {
    const taken: Job[] = [];
    const onJobs = (jobs: readonly Job[]): void => {
      taken.push(...jobs);
      jobs.forEach(answer);
    };
    queue.consume(LANE, { max: 50, onJobs, signal: stop.signal });
    return taken;
  };

  it('rejects with QUEUE_UNAVAILABLE within 3 s while the server is away, and works again after its return', async () => {
    const { queue } = await open();
    await server.kill('SIGTERM');
    expect(await failureOf(() => queue.publish([hint(), hint()]))).to.equal('QUEUE_UNAVAILABLE');
    expect(await failureOf(() => queue.ping())).to.equal('QUEUE_UNAVAILABLE');
    expect(await failureOf(() => queue.firstUndelivered(LANE))).to.equal('QUEUE_UNAVAILABLE');
    await server.restart();
    await eventually('the queue is back', () => queue.publish([hint()]).then(() => true, isAway));
  });

  it('rejects within 3 s, however many hints, when the network swallows everything, and recovers', async () => {
    const proxy = stack.use(await startTcpProxy(server.port));
    const { queue } = await open({ servers: [`127.0.0.1:${proxy.port}`] });
    proxy.mode('black-hole');
    const many = Array.from({ length: 1_000 }, () => hint());
    expect(await failureOf(() => queue.publish(many))).to.equal('QUEUE_UNAVAILABLE');
    proxy.mode('pass');
    await eventually('the queue is back', () => queue.publish([hint()]).then(() => true, isAway));
  });

  it('loses no stored hint when the server is killed while hints come in', async () => {
    const opened = await open();
    const stored = new Set<string>();
    let killed = false;
    const publishing = Array.from({ length: 8 }, async () => {
      while (!killed || stored.size === 0) {
        const next = hint();
        const done = await opened.queue.publish([next]).then(() => true, isAway);
        if (done) stored.add(next.id);
      }
    });
    await eventually('hints are stored', () => stored.size > 200);
    await server.kill('SIGKILL');
    killed = true;
    await Promise.all(publishing);
    await server.restart();
    const taken = consume(opened);
    await eventually('all stored hints', () => {
      const seen = new Set(taken.map((job) => job.hint.id));
      return [...stored].every((id) => seen.has(id));
    });
  });

  it('goes on handing out after the server was killed, without another call', async () => {
    const opened = await open();
    const taken = consume(opened);
    await opened.queue.publish([hint()]);
    await eventually('the first job', () => taken.length === 1);
    await server.kill('SIGKILL');
    await server.restart();
    const later = hint();
    await eventually('the queue is back', () => opened.queue.publish([later]).then(() => true, isAway));
    await eventually('the job after the outage', () => taken.some((job) => job.hint.id === later.id));
  });

  it('forgets a job that was answered during an outage', async () => {
    const opened = await open();
    const taken = consume(opened, () => {});
    await opened.queue.publish([hint()]);
    const job = await eventually('the job', () => taken[0]);
    await server.kill('SIGKILL');
    await eventually('the loss is noticed', () =>
      opened.queue.ping().then(
        () => false as const,
        () => true,
      ),
    );
    job.answer('done');
    await server.restart();
    await eventually('the stream is empty', async () => (await messagesIn(server, 'NOTIFY')) === 0);
  });

  it('keeps a job that is worked on for longer than the acknowledgement time', async () => {
    const [one, other] = [await open(), await open()];
    const held = consume(one, () => {});
    await one.queue.publish([hint()]);
    const job = await eventually('the held job', () => held[0]);
    stop = new AbortController();
    const seen = consume(other, () => {});
    // More than one process may hold, so that the other gets some.
    await one.queue.publish(Array.from({ length: 60 }, () => hint()));
    const mine = await eventually('a job of the other process', () => seen[0]);
    mine.answer({ later: 2.5 * ACK_WAIT_MS });
    await eventually('its return', () =>
      [...seen, ...held].some((j) => j.hint.id === mine.hint.id && j.deliveries > 1),
    );
    expect(seen.map((j) => j.hint.id)).to.not.include(job.hint.id);
  });

  it('drops a hint that it cannot read, and tells', async () => {
    const invalid: CarillonError[] = [];
    const opened = await open({ onInvalid: (error) => invalid.push(error) });
    const client = await connect({ servers: server.url });
    for (const body of ['{"schema":99,"id":"a","version":1,"enqueuedAt":1}', 'no JSON', 'null']) {
      await client.request('notify.email.high', body);
    }
    await client.close();
    const taken = consume(opened);
    await opened.queue.publish([hint()]);
    await eventually('the good job', () => taken.length === 1);
    expect(invalid).to.have.lengthOf(3);
    await eventually('the stream is empty', async () => (await messagesIn(server, 'NOTIFY')) === 0);
  });

  it('makes its streams again on a server that lost everything, and goes on', async () => {
    const opened = await open();
    const taken = consume(opened);
    await server.kill('SIGKILL');
    await rm(join(server.storeDir, 'jetstream'), { recursive: true });
    await server.restart();
    await eventually('the queue is back', () => opened.queue.publish([hint()]).then(() => true, isAway));
    await eventually('the job', () => taken.length > 0);
  });

  it('takes over another cap when it is opened again', async () => {
    const { queue } = await open({ maxPerLane: 1 });
    expect(await queue.publish([hint(), hint()])).to.deep.equal(['stored', 'full']);
    const again = await open({ maxPerLane: 2 });
    expect(await again.queue.publish([hint(), hint()])).to.deep.equal(['stored', 'full']);
  });

  it('does not start without a server', async () => {
    await server.kill('SIGTERM');
    expect(await failureOf(() => open())).to.equal('QUEUE_UNAVAILABLE');
  });

  it('does not start with a server that is too old', async () => {
    const old = createServer((socket) => {
      const info = { version: '2.10.29', headers: true, jetstream: true, max_payload: 1_048_576, proto: 1 };
      socket.write(`INFO ${JSON.stringify(info)}\r\n`);
      socket.on('data', (chunk) => chunk.includes('PING') && socket.write('PONG\r\n'));
    });
    old.listen(0, '127.0.0.1');
    await once(old, 'listening');
    stack.defer(() => void old.close());
    const address = old.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    expect(await failureOf(() => open({ servers: [`127.0.0.1:${port}`] }))).to.equal('QUEUE_UNAVAILABLE');
  });
});

/** The reason of the failure, which must come within 3 s. */
async function failureOf(call: () => Promise<unknown>): Promise<string> {
  const started = Date.now();
  try {
    await call();
    return 'no failure';
  } catch (thrown) {
    return Date.now() - started < 3_000 ? CarillonError.from(thrown).reason : 'too late';
  }
}

/** Not yet, where the queue is away; any other failure is one of the test. */
function isAway(thrown: unknown): false {
  if (isUnavailable(thrown)) return false;
  throw thrown;
}

async function messagesIn(server: NatsServer, stream: string): Promise<number> {
  const client = await connect({ servers: server.url });
  try {
    const answer = await client.request(`$JS.API.STREAM.INFO.${stream}`);
    const { state } = answer.json<{ state: { messages: number } }>();
    return state.messages;
  } finally {
    await client.close();
  }
}
