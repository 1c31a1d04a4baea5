import { expect } from 'chai';
import type { Message, Provider, SendResult } from '../../src/providers/provider.ts';
import { eventually } from '../support/eventually.ts';

/** How the service at the other end behaves. */
export type Behaviour =
  | 'accept'
  /** Nobody listens. */
  | 'absent'
  /** Takes the connection and is silent before a request can go out. */
  | 'silent_before'
  /** Takes the whole request and is silent. */
  | 'silent_after'
  /** Takes the whole request and breaks the connection. */
  | 'reset_after'
  /** Refuses with an answer that repeats the credentials it was given. */
  | 'echo_credentials';

/** A provider and the service it talks to. */
export interface Rig<M extends Message> extends AsyncDisposable {
  readonly provider: Provider<M>;
  readonly message: M;
  readonly credentials: readonly string[];
  /** Resolves when the provider has connected. */
  connected(): Promise<void>;
  /** Resolves when the service has the whole request. */
  arrived(): Promise<void>;
  /** Whole requests that came. */
  readonly taken: number;
}

export interface Limits {
  readonly timeoutMs: number;
  readonly maxConcurrent: number;
}

export interface Subject<M extends Message> {
  readonly name: string;
  open(behaviour: Behaviour, limits: Limits): Promise<Rig<M>>;
}

const PATIENT: Limits = { timeoutMs: 20_000, maxConcurrent: 5 };
const IMPATIENT: Limits = { timeoutMs: 150, maxConcurrent: 5 };
/** Milliseconds within which an abort must have ended a call: far below the time-outs in force, for any machine. */
const SOON = PATIENT.timeoutMs / 2;

/** Time-outs that a slow machine lets pass before the request is out are followed by longer ones. */
export function* timeouts(): Generator<number> {
  for (let ms = IMPATIENT.timeoutMs; ms < PATIENT.timeoutMs; ms *= 4) yield ms;
  yield PATIENT.timeoutMs;
}

export const KEY = '6f1c0a52-7d1b-5b0e-9a53-3a4f2d1c0b9a';

const never = (): AbortSignal => new AbortController().signal;

/** What every provider promises, whatever it speaks. */
export function describeProvider<M extends Message>(subject: Subject<M>): void {
  describe(`${subject.name} keeps the promises of a provider`, () => {
    it('says sent when the service took the message', async () => {
      await using rig = await subject.open('accept', PATIENT);
      expect((await send(rig, never())).outcome).to.equal('sent');
      expect(rig.taken).to.equal(1);
    });

    it('makes one try', async () => {
      await using rig = await subject.open('reset_after', PATIENT);
      await send(rig, never());
      expect(rig.taken).to.equal(1);
    });

    it('is a temporary failure when nobody listens', async () => {
      await using rig = await subject.open('absent', PATIENT);
      expect((await send(rig, never())).outcome).to.equal('temporary_failure');
    });

    it('is a temporary failure when the time is over before the request went out', async () => {
      await using rig = await subject.open('silent_before', IMPATIENT);
      expect((await send(rig, never())).outcome).to.equal('temporary_failure');
    });

    it('is unknown when the time is over after the request went out', async () => {
      for (const timeoutMs of timeouts()) {
        await using rig = await subject.open('silent_after', { ...IMPATIENT, timeoutMs });
        const { outcome } = await send(rig, never());
        if (rig.taken === 0) continue;
        expect(outcome).to.equal('unknown');
        return;
      }
      expect.fail('no request went out');
    });

    it('is unknown when the connection breaks after the request went out', async () => {
      await using rig = await subject.open('reset_after', PATIENT);
      expect((await send(rig, never())).outcome).to.equal('unknown');
    });

    it('is a temporary failure and sends nothing when it was aborted in advance', async () => {
      await using rig = await subject.open('accept', PATIENT);
      expect((await send(rig, AbortSignal.abort())).outcome).to.equal('temporary_failure');
      expect(rig.taken).to.equal(0);
    });

    it('ends soon as a temporary failure when aborted before the request went out', async () => {
      await using rig = await subject.open('silent_before', PATIENT);
      const result = await abortedWhen(rig, rig.connected());
      expect(result.outcome).to.equal('temporary_failure');
      expect(rig.taken).to.equal(0);
    });

    it('ends soon as unknown when aborted after the request went out', async () => {
      await using rig = await subject.open('silent_after', PATIENT);
      const result = await abortedWhen(rig, rig.arrived());
      expect(result.outcome).to.equal('unknown');
    });

    it('ends a wait for a free connection with the signal, as a temporary failure that sends nothing', async () => {
      await using rig = await subject.open('silent_after', { ...PATIENT, maxConcurrent: 1 });
      const first = new AbortController();
      const running = send(rig, first.signal);
      await rig.arrived();
      expect((await abortedWhen(rig, Promise.resolve())).outcome).to.equal('temporary_failure');
      expect(rig.taken).to.equal(1);
      first.abort();
      await running;
    });

    it('gives the place of an aborted call to the next one', async () => {
      await using rig = await subject.open('silent_after', { ...PATIENT, maxConcurrent: 1 });
      expect((await abortedWhen(rig, rig.arrived())).outcome).to.equal('unknown');
      const second = new AbortController();
      const running = send(rig, second.signal);
      await eventually('the second request', () => rig.taken === 2);
      second.abort();
      expect((await running).outcome).to.equal('unknown');
    });

    it('shows no credential in code and detail', async () => {
      await using rig = await subject.open('echo_credentials', PATIENT);
      const result = await send(rig, never());
      expect(result.outcome).not.to.equal('sent');
      expect(result.detail, 'the answer is shown').to.be.a('string').that.is.not.empty;
      for (const credential of rig.credentials) {
        expect(`${result.code} ${result.detail}`).not.to.contain(credential);
      }
    });

    it('does not say sent once it is disposed', async () => {
      await using rig = await subject.open('accept', PATIENT);
      await rig.provider[Symbol.asyncDispose]();
      expect((await send(rig, never())).outcome).to.equal('temporary_failure');
      expect(rig.taken).to.equal(0);
    });

    it('ends a call under way when it is disposed', async () => {
      await using rig = await subject.open('silent_after', PATIENT);
      const running = send(rig, never());
      await rig.arrived();
      await rig.provider[Symbol.asyncDispose]();
      expect((await running).outcome).to.equal('unknown');
    });
  });
}

function send<M extends Message>(rig: Rig<M>, signal: AbortSignal): Promise<SendResult> {
  return rig.provider.send(rig.message, { key: KEY, signal });
}

async function abortedWhen<M extends Message>(rig: Rig<M>, moment: Promise<void>): Promise<SendResult> {
  const controller = new AbortController();
  const running = send(rig, controller.signal);
  await moment;
  const at = performance.now();
  controller.abort();
  const result = await running;
  expect(performance.now() - at).to.be.below(SOON);
  return result;
}
