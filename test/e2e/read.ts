import { createHash, randomUUID } from 'node:crypto';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import { expect } from 'chai';
import { Channel, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import { DecisionLayer, Verdict } from '../../gen/carillon/v1/notification_service_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { failureOf } from '../support/rpc-server.ts';
import { type NotificationClient, onlyId, TestCarillon } from '../support/start-carillon.ts';
import { inApp, RECIPIENT, sampleData, sms } from './samples.ts';

const NOBODY = '019a0000-0000-7000-8000-000000000000';
const HOUR = 3_600_000;

export function reading(rig: PairRig): void {
  let carillon: TestCarillon;

  before(async () => {
    const set = ['notifications.slack.providers='];
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set }));
  });

  it('an id that nobody has is NOT_FOUND with its reason', async () => {
    const failure = await failureOf(carillon.client.getNotification({ id: NOBODY }));
    expect(failure).to.deep.include({ code: Code[Code.NotFound], reason: 'NOTIFICATION_NOT_FOUND' });
    expect(failure.metadata).to.deep.equal({ id: NOBODY });
  });

  it('an id is found in any case', async () => {
    const id = await carillon.sendOne(inApp());
    const { notification } = await carillon.client.getNotification({ id: id.toUpperCase() });
    expect(notification?.id).to.equal(id);
  });

  it('a list comes newest first, in pages that leave nothing out and end', async () => {
    const recipient = { id: randomUUID() };
    const ids: string[] = [];
    for (let n = 0; n < 7; n += 1) ids.push(await carillon.sendOne(inApp({ recipient })));
    const listed: string[] = [];
    let pageToken = '';
    let pages = 0;
    do {
      const filter = { recipientId: recipient.id };
      const page = await carillon.client.listNotifications({ filter, pageSize: 3, pageToken });
      listed.push(...page.notifications.map(({ id }) => id));
      pageToken = page.nextPageToken;
      pages += 1;
    } while (pageToken !== '' && pages < 10);
    expect(listed).to.deep.equal(ids.toReversed());
    expect(pages).to.equal(3);
  });

  it('a list is narrowed by status', async () => {
    const id = await carillon.sendOne(inApp({ scheduledFor: timestampFromMs(Date.now() + HOUR) }));
    const { notifications } = await carillon.client.listNotifications({ filter: { status: Status.PENDING } });
    expect(notifications.map((one) => one.id)).to.include(id);
    expect(new Set(notifications.map(({ status }) => status))).to.deep.equal(new Set([Status.PENDING]));
    expect(notifications[0]?.reason).to.equal(Reason.SCHEDULED);
  });

  it('a list is narrowed by the time of acceptance, the start included and the end not', async () => {
    const recipient = { id: randomUUID() };
    const first = await carillon.get(await carillon.sendOne(inApp({ recipient })));
    const firstAt = first.createdAt ? timestampMs(first.createdAt) : 0;
    while (Date.now() === firstAt) await new Promise((resolve) => setImmediate(resolve));
    const second = await carillon.get(await carillon.sendOne(inApp({ recipient })));
    const { createdAt } = second;
    if (!createdAt) throw new Error('no time of acceptance');
    const list = async (times: object): Promise<string[]> => {
      const filter = { recipientId: recipient.id, ...times };
      return (await carillon.client.listNotifications({ filter })).notifications.map(({ id }) => id);
    };
    expect(await list({ createdFrom: createdAt })).to.deep.equal([second.id]);
    expect(await list({ createdBefore: createdAt })).to.deep.equal([first.id]);
  });

  it('two narrowing filters at once are refused', async () => {
    const filter = { recipientId: 'a', status: Status.SENT };
    const failure = await failureOf(carillon.client.listNotifications({ filter }));
    expect(failure.code).to.equal(Code[Code.InvalidArgument]);
  });

  for (const pageToken of ['nonsense', '!!', 'AAAA', Buffer.alloc(17).toString('base64url')]) {
    it(`the page token ${pageToken} is refused by name`, async () => {
      const failure = await failureOf(carillon.client.listNotifications({ pageToken }));
      expect(failure).to.include({ code: Code[Code.InvalidArgument], reason: 'PAGE_TOKEN_INVALID' });
    });
  }

  it('explaining tells what would be sent, by which providers, and stores nothing', async () => {
    const recipient = { ...RECIPIENT, id: randomUUID() };
    const { explanations } = await carillon.client.explainNotification({
      notification: {
        type: 'order_confirmation',
        channels: [Channel.EMAIL],
        recipient,
        data: sampleData('order_confirmation'),
      },
    });
    const [mail] = explanations;
    expect(mail).to.include({ verdict: Verdict.SEND, channel: Channel.EMAIL, reason: Reason.UNSPECIFIED });
    expect(mail?.providers).to.deep.equal(['capture']);
    expect(mail?.renderedContent?.content?.htmlBody).to.contain('Walnut desk');
    const listed = await carillon.client.listNotifications({ filter: { recipientId: recipient.id } });
    expect(listed.notifications).to.deep.equal([]);
  });

  it('explaining tells until when it would be held', async () => {
    const scheduledFor = timestampFromMs(Date.now() + HOUR);
    const { explanations } = await carillon.client.explainNotification({ notification: sms({ scheduledFor }) });
    expect(explanations[0]).to.include({
      verdict: Verdict.HOLD,
      reason: Reason.SCHEDULED,
      layer: DecisionLayer.SCHEDULE,
    });
    expect(explanations[0]?.nextAllowedAt).to.deep.include({ seconds: scheduledFor.seconds });
  });

  it('explaining tells channel by channel why nothing would be sent', async () => {
    const channels = [Channel.SLACK, Channel.IN_APP];
    const recipient = { id: 'a', slackAddress: 'C123' };
    const { explanations } = await carillon.client.explainNotification({
      notification: inApp({ channels, recipient }),
    });
    expect(explanations.map(({ verdict }) => verdict)).to.deep.equal([Verdict.DROP, Verdict.SEND]);
    expect(explanations[0]).to.include({ reason: Reason.NO_PROVIDER, layer: DecisionLayer.ROUTE });
    const expiresAt = timestampFromMs(Date.now() - 1_000);
    const expired = await carillon.client.explainNotification({ notification: sms({ expiresAt }) });
    expect(expired.explanations[0]).to.include({
      verdict: Verdict.DROP,
      reason: Reason.EXPIRED,
      layer: DecisionLayer.EXPIRY,
    });
  });

  it('explaining refuses bad input as sending does', async () => {
    const failure = await failureOf(carillon.client.explainNotification({ notification: sms({ recipient: {} }) }));
    expect(failure).to.include({ code: Code[Code.InvalidArgument], reason: 'RECIPIENT_ADDRESS_MISSING' });
  });

  it('a channel that is switched off ends as FAILED, NO_PROVIDER', async () => {
    const input = { channels: [Channel.SLACK], recipient: { slackAddress: 'C123' } };
    const failed = await carillon.until(await carillon.sendOne(inApp(input)), Status.FAILED);
    expect(failed.reason).to.equal(Reason.NO_PROVIDER);
  });
}

export function tenantsAndScopes(rig: PairRig): void {
  let carillon: TestCarillon;
  const entry = (name: string, tenant: string, scopes: string): string => {
    const sha256 = createHash('sha256').update(`key-${name}`).digest('hex');
    return `{ name = "${name}", tenant = "${tenant}", sha256 = "${sha256}", scopes = [${scopes}] }`;
  };
  const as = (name: string): NotificationClient => carillon.connect('gRPC', `key-${name}`);

  before(async () => {
    const keys = [
      entry('one', 'one', '"send", "read"'),
      entry('two', 'two', '"send", "read"'),
      entry('reader', 'one', '"read"'),
      entry('sender', 'one', '"send"'),
    ];
    const set = [`auth.keys=[${keys.join(', ')}]`];
    carillon = rig.owned.use(await TestCarillon.start({ store: await rig.store(), set }));
  });

  it('a call without a key, or with an unknown one, is refused', async () => {
    expect(await failureOf(carillon.client.listNotifications({}))).to.include({ reason: 'API_KEY_MISSING' });
    expect(await failureOf(as('nobody').listNotifications({}))).to.include({
      code: Code[Code.Unauthenticated],
      reason: 'API_KEY_INVALID',
    });
  });

  it('a tenant neither reads, lists, cancels nor re-drives what is another tenant’s', async () => {
    const scheduledFor = timestampFromMs(Date.now() + HOUR);
    const sent = await as('one').sendNotification({ notification: inApp({ scheduledFor }) });
    const id = onlyId(sent);
    const notFound = { code: Code[Code.NotFound], reason: 'NOTIFICATION_NOT_FOUND' };
    expect(await failureOf(as('two').getNotification({ id }))).to.include(notFound);
    expect(await failureOf(as('two').cancelNotification({ id }))).to.include(notFound);
    for (const filter of [{}, { groupId: sent.groupId }, { recipientId: RECIPIENT.id }, { status: Status.PENDING }]) {
      expect((await as('two').listNotifications({ filter })).notifications).to.deep.equal([]);
    }
    const retried = await as('two').retryNotifications({ selection: { case: 'ids', value: { ids: [id] } } });
    expect(retried.ids).to.deep.equal([]);
    expect((await as('reader').getNotification({ id })).notification?.id).to.equal(id);
  });

  it('an idempotency key of one tenant means nothing to another', async () => {
    const request = { notification: inApp(), idempotencyKey: 'shared' };
    const first = await as('one').sendNotification(request);
    const second = await as('two').sendNotification(request);
    expect(onlyId(second)).not.to.equal(onlyId(first));
  });

  it('a watcher sees only its own tenant’s events, also when it asks for another’s id', async () => {
    const theirs = await as('one').sendNotification({ notification: inApp() });
    const ours = await as('two').sendNotification({ notification: inApp() });
    const ids = [onlyId(theirs), onlyId(ours)];
    const seen = new Set<string>();
    const watch = as('two').watchNotifications({ notificationIds: ids, afterToken: theirs.watchToken });
    for await (const { event } of watch) {
      if (event) seen.add(event.notificationId);
      if (event?.notificationId === onlyId(ours) && event.status === Status.SENT) break;
    }
    expect(seen).to.deep.equal(new Set([onlyId(ours)]));
  });

  it('a key does only what its scopes name', async () => {
    const denied = { code: Code[Code.PermissionDenied], reason: 'SCOPE_MISSING' };
    expect(await failureOf(as('reader').sendNotification({ notification: inApp() }))).to.include(denied);
    expect(await failureOf(as('sender').listNotifications({}))).to.include(denied);
    expect(await failureOf(as('sender').watchNotifications({}))).to.include(denied);
    const sent = await as('sender').sendNotification({ notification: inApp() });
    expect((await as('reader').getNotification({ id: onlyId(sent) })).notification?.groupId).to.equal(sent.groupId);
  });
}
