import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Channel, type Notification, Outcome, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import { accountFile, fcmError, grant, isTokenRequest } from '../providers/push/fcm-service.ts';
import type { PairRig } from '../support/pairs.ts';
import { type NotificationInit, TestCarillon } from '../support/start-carillon.ts';
import { type HttpAnswer, startHttp } from '../support/start-http.ts';
import { quickRetries } from './samples.ts';

const UNREGISTERED = fcmError({ status: 404, code: 'NOT_FOUND', errorCode: 'UNREGISTERED' });
const UNAVAILABLE = fcmError({ status: 503, code: 'UNAVAILABLE', errorCode: 'UNAVAILABLE' });

/** Push messages through FCM, which answers each device on its own. */
export function devices(rig: PairRig): void {
  let carillon: TestCarillon;
  /** The devices of its calls, in order. */
  const calls: string[] = [];
  let react: (token: string, turn: number) => HttpAnswer | undefined = () => undefined;
  const callsOf = (token: string): number => calls.filter((one) => one === token).length;

  before(async () => {
    const http = rig.owned.use(
      await startHttp((request) => {
        if (isTokenRequest(request)) return grant(request);
        // The provider wrote it.
        const { message } = JSON.parse(request.body) as { message: { token: string } };
        calls.push(message.token);
        return (
          react(message.token, callsOf(message.token)) ?? { status: 200, body: '{"name":"projects/shop-1/messages/1"}' }
        );
      }),
    );
    const folder = await mkdtemp(join(tmpdir(), 'carillon-fcm-'));
    rig.owned.defer(() => rm(folder, { recursive: true }));
    const account = join(folder, 'account.json');
    await writeFile(account, accountFile());
    const set = [
      ...quickRetries,
      'notifications.push.providers=fcm',
      `notifications.push.fcm.base_url=${http.url}`,
      `notifications.push.fcm.token_url=${http.url}/token`,
      `notifications.push.fcm.service_account_file=${account}`,
    ];
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set }));
  });

  const push = (...tokens: readonly (string | { token: string; registeredAt: number })[]): NotificationInit => ({
    type: 'note',
    channels: [Channel.PUSH],
    recipient: {
      devices: tokens.map((one) =>
        typeof one === 'string'
          ? { token: one }
          : { token: one.token, registeredAt: timestampFromMs(one.registeredAt) },
      ),
    },
    content: { push: { title: 'Hi', body: 'there' } },
  });

  const outcomes = (row: Notification): (string | undefined)[] => row.targets.map(({ outcome }) => Outcome[outcome]);

  it('two of three devices get it exactly once while the third is put off, and the third when it can', async () => {
    react = (token, turn) => (token === 'slow-b' && turn < 3 ? UNAVAILABLE : undefined);
    const sent = await carillon.until(await carillon.sendOne(push('slow-a', 'slow-b', 'slow-c')), Status.SENT);
    expect(outcomes(sent)).to.deep.equal(['SENT', 'SENT', 'SENT']);
    expect(['slow-a', 'slow-b', 'slow-c'].map(callsOf)).to.deep.equal([1, 3, 1]);
    expect(sent.attempts.map(({ targets }) => targets)).to.deep.equal([[0, 1, 2], [1], [1]]);
  });

  it('a device that is gone is told apart from the others, and not called again by the next send', async () => {
    react = (token) => (token === 'gone-b' ? UNREGISTERED : undefined);
    const first = await carillon.until(await carillon.sendOne(push('gone-a', 'gone-b')), Status.SENT);
    expect(outcomes(first)).to.deep.equal(['SENT', 'INVALID_RECIPIENT']);
    const second = await carillon.until(await carillon.sendOne(push('gone-a', 'gone-b')), Status.SENT);
    expect(outcomes(second)).to.deep.equal(['SENT', 'SUPPRESSED']);
    expect(['gone-a', 'gone-b'].map(callsOf)).to.deep.equal([2, 1]);
  });

  it('a send to devices that are all gone is CANCELLED, SUPPRESSED, until one is registered anew', async () => {
    react = (token, turn) => (token === 'dead' && turn === 1 ? UNREGISTERED : undefined);
    const first = await carillon.until(await carillon.sendOne(push('dead')), Status.FAILED);
    expect(first.reason).to.equal(Reason.INVALID_RECIPIENT);
    const { notifications } = await carillon.send(push('dead'));
    expect(notifications[0]).to.include({ status: Status.CANCELLED, reason: Reason.SUPPRESSED });
    expect(callsOf('dead')).to.equal(1);
    const anew = push({ token: 'dead', registeredAt: Date.now() + 1_000 });
    expect(outcomes(await carillon.until(await carillon.sendOne(anew), Status.SENT))).to.deep.equal(['SENT']);
  });
}
