import { expect } from 'chai';
import { Webhook } from 'standardwebhooks';
import { Channel, Outcome, Priority, Status } from '../../gen/carillon/v1/notification_pb.js';
import type { NotificationEvent } from '../../gen/carillon/v1/notification_pb.js';
import type { PairRig } from '../support/pairs.ts';
import { type NotificationInit, onlyId, type Protocol, TestCarillon } from '../support/start-carillon.ts';
import { type StartedHttp, startHttp } from '../support/start-http.ts';
import { type StartedSmtp, startSmtp } from '../support/start-smtp.ts';
import { inApp, mail, realMail, realWebhooks, RECIPIENT, sampleData, SECRET, requestsFor, webhook } from './samples.ts';

export function sending(rig: PairRig): void {
  let smtp: StartedSmtp;
  let http: StartedHttp;
  let carillon: TestCarillon;

  before(async () => {
    smtp = rig.owned.use(await startSmtp());
    http = rig.owned.use(await startHttp());
    const store = await rig.store();
    carillon = rig.owned.use(await TestCarillon.start({ store, set: [...realMail(smtp), ...realWebhooks] }));
  });

  const orderConfirmation: NotificationInit = {
    type: 'order_confirmation',
    channels: [Channel.EMAIL],
    recipient: RECIPIENT,
    category: 'order_updates',
    data: sampleData('order_confirmation'),
  };
  const mailTo = (address: string) => smtp.mails.filter((one) => one.to.includes(address));

  it('an order confirmation arrives as a mail made from its template', async () => {
    const id = await carillon.sendOne({
      ...orderConfirmation,
      recipient: { ...RECIPIENT, email: 'order@example.com' },
    });
    const sent = await carillon.until(id, Status.SENT);
    const [received, ...more] = mailTo('order@example.com');
    expect(more).to.deep.equal([]);
    expect(received?.parsed.subject).to.contain('1001');
    expect(received?.parsed.html).to.contain('Walnut desk');
    expect(received?.parsed.text).to.contain('$439.50');
    expect(received?.parsed.from?.address).to.equal('shop@example.com');
    expect(sent.renderedContent?.templateId).to.equal('order_confirmation');
    expect(sent.targets[0]?.outcome).to.equal(Outcome.SENT);
    expect(sent.targets[0]?.provider).to.equal('smtp');
    expect(sent.targets[0]?.providerMessageId).not.to.equal('');
  });

  it('a template follows the locale of the recipient', async () => {
    const recipient = { ...RECIPIENT, email: 'pt@example.com', locale: 'pt-BR' };
    const id = await carillon.sendOne({ ...orderConfirmation, recipient });
    const sent = await carillon.until(id, Status.SENT);
    expect(sent.renderedContent?.locale).to.equal('pt');
    expect(mailTo('pt@example.com')[0]?.parsed.subject).not.to.contain('Confirmed');
  });

  it('a webhook arrives once, with a signature that the receiver can verify', async () => {
    const id = await carillon.sendOne(webhook(`${http.url}/hook?a=b`, { type: 'order.paid', data: { total: 5 } }));
    await carillon.until(id, Status.SENT);
    const [request, ...more] = requestsFor(http, id);
    if (!request) throw new Error('no request arrived');
    expect(more).to.deep.equal([]);
    expect(request.method).to.equal('POST');
    expect(request.path).to.equal('/hook?a=b');
    // The library reads three headers of the request, each of which came once.
    const verified = new Webhook(SECRET).verify(request.body, request.headers as Record<string, string>);
    expect(verified).to.deep.include({ type: 'order.paid', data: { total: 5 } });
  });

  it('an in-app message is in the inbox with its content', async () => {
    const id = await carillon.sendOne(inApp({ content: { subject: 'Hi', textBody: 'there' } }));
    const sent = await carillon.until(id, Status.SENT);
    expect(sent.renderedContent?.content?.subject).to.equal('Hi');
    expect(sent.renderedContent?.content?.textBody).to.equal('there');
    expect(sent.recipient?.id).to.equal(RECIPIENT.id);
  });

  for (const [name, notification] of [
    ['mail', () => orderConfirmation],
    ['webhook', () => webhook(http.url)],
    ['in-app message', () => inApp()],
  ] as const) {
    it(`every step of a ${name} is watched live, in order`, async () => {
      const { watchToken, notifications } = await carillon.send(notification());
      const id = notifications[0]?.id;
      const ours = (event: NotificationEvent): boolean => event.notificationId === id;
      const events = await carillon.eventsAfter(watchToken, (event) => ours(event) && event.status === Status.SENT);
      expect(events.filter(ours).map(({ status, version }) => [Status[status], Number(version)])).to.deep.equal([
        ['QUEUED', 1],
        ['PROCESSING', 2],
        ['SENT', 3],
      ]);
    });
  }

  it('the row tells the whole story afterwards', async () => {
    const input = inApp({
      priority: Priority.HIGH,
      metadata: { order: '7' },
      data: { a: [1, 'b'] },
      category: 'marketing',
    });
    const id = await carillon.sendOne(input);
    const row = await carillon.until(id, Status.SENT);
    expect(row.history.map(({ status }) => Status[status])).to.deep.equal(['QUEUED', 'PROCESSING', 'SENT']);
    expect(row.attempts.map(({ number, run, provider }) => ({ number, run, provider }))).to.deep.equal([
      { number: 1, run: 1, provider: 'store' },
    ]);
    expect(row.priority).to.equal(Priority.HIGH);
    expect(row.category).to.equal('marketing');
    expect(row.metadata).to.deep.equal({ order: '7' });
    expect(row.data).to.deep.equal({ a: [1, 'b'] });
    expect(row.version).to.equal(3n);
  });

  it('channels of one send share a group and are listed by it', async () => {
    const channels = [Channel.EMAIL, Channel.WEBHOOK, Channel.IN_APP];
    const recipient = { ...RECIPIENT, webhookUrl: http.url };
    const { groupId, notifications } = await carillon.send(mail({ channels, recipient }));
    expect(notifications.map(({ channel }) => channel)).to.deep.equal(channels);
    for (const { id } of notifications) await carillon.until(id, Status.SENT);
    const listed = await carillon.client.listNotifications({ filter: { groupId } });
    expect(listed.notifications.map(({ id }) => id)).to.have.members(notifications.map(({ id }) => id));
    expect(new Set(listed.notifications.map((row) => row.groupId))).to.deep.equal(new Set([groupId]));
  });

  it('copies, headers and files go out with the mail', async () => {
    const id = await carillon.sendOne(
      mail({
        recipient: { ...RECIPIENT, email: 'files@example.com' },
        content: { subject: 'Files', htmlBody: '<img src="cid:logo@shop">', textBody: 'see files' },
        email: {
          from: { email: 'sales@example.com', name: 'Sales' },
          replyTo: { email: 'help@example.com' },
          cc: [{ email: 'cc@example.com', name: 'Copy' }],
          bcc: [{ email: 'hidden@example.com' }],
          headers: { 'X-Campaign': 'autumn' },
          attachments: [
            { filename: 'logo.png', content: Buffer.from('logo'), mimeType: 'image/png', contentId: 'logo@shop' },
            { filename: 'bill.pdf', content: Buffer.alloc(100_000, 1), mimeType: 'application/pdf' },
          ],
        },
      }),
    );
    await carillon.until(id, Status.SENT);
    const [received] = mailTo('files@example.com');
    if (!received) throw new Error('no mail arrived');
    const { parsed, to } = received;
    expect(to).to.have.members(['files@example.com', 'cc@example.com', 'hidden@example.com']);
    expect(parsed.from).to.deep.include({ address: 'sales@example.com', name: 'Sales' });
    expect(parsed.replyTo?.[0]?.address).to.equal('help@example.com');
    expect(parsed.cc?.[0]).to.deep.include({ address: 'cc@example.com', name: 'Copy' });
    expect(received.raw).not.to.contain('hidden@example.com');
    expect(parsed.headers).to.deep.include({ key: 'x-campaign', originalKey: 'X-Campaign', value: 'autumn' });
    const files = parsed.attachments.map(({ filename, mimeType, contentId }) => ({ filename, mimeType, contentId }));
    expect(files).to.deep.equal([
      { filename: 'logo.png', mimeType: 'image/png', contentId: '<logo@shop>' },
      { filename: 'bill.pdf', mimeType: 'application/pdf', contentId: undefined },
    ]);
    const [, bill] = parsed.attachments;
    expect(bill?.content).to.have.property('byteLength', 100_000);
  });

  for (const protocol of ['Connect', 'gRPC-Web'] satisfies Protocol[]) {
    it(`the same is had over ${protocol}`, async () => {
      const client = carillon.connect(protocol);
      const accepted = await client.sendNotification({ notification: inApp() });
      const id = onlyId(accepted);
      const steps: string[] = [];
      const watch = client.watchNotifications({ notificationIds: [id], afterToken: accepted.watchToken });
      for await (const { event } of watch) {
        if (event) steps.push(Status[event.status]);
        if (event?.status === Status.SENT) break;
      }
      expect(steps).to.deep.equal(['QUEUED', 'PROCESSING', 'SENT']);
      const { notification } = await client.getNotification({ id });
      expect(notification?.status).to.equal(Status.SENT);
    });
  }
}
