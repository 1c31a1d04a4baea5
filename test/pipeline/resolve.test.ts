import { expect } from 'chai';
import { DAY } from '../../src/domain/clock.ts';
import { CHANNELS } from '../../src/domain/notification.ts';
import type { Channel, NotificationSpec, Recipient } from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import { MAX_ATTACHMENT_BYTES, MAX_SCHEDULE_AHEAD, resolve } from '../../src/pipeline/resolve.ts';
import type { NotificationRequest } from '../../src/pipeline/resolve.ts';
import { aRequest } from '../support/fake-request.ts';
import { SAMPLE_TIME } from '../support/sample.ts';

const NOW = SAMPLE_TIME;
const IDS = { tenant: 'shop', groupId: 'group', ids: ['a', 'b', 'c'] };
const resolved = (request: NotificationRequest): NotificationSpec[] => resolve(request, IDS, NOW, () => {});

function fault(request: NotificationRequest): { reason: string; fields: string[] } | undefined {
  try {
    resolved(request);
    return undefined;
  } catch (thrown) {
    const { reason, violations } = CarillonError.from(thrown);
    return { reason, fields: violations.map((v) => v.field) };
  }
}

describe('resolve', () => {
  it('makes one spec per channel, each with its own id and with what belongs to its channel only', () => {
    const email = { cc: [], bcc: [], headers: {} };
    const webhook = { method: 'PUT', headers: {} } as const;
    const sms = { type: 'unicode', from: 'Acme' } as const;
    const file = { filename: 'a', content: new Uint8Array(1), mimeType: 'text/plain' };
    const request = aRequest({
      channels: ['email', 'sms', 'webhook'],
      email,
      webhook,
      sms,
      attachments: [file],
      data: { n: 1 },
    });
    const specs = resolved(request);
    expect(specs.map((s) => [s.id, s.channel, s.attachmentCount])).to.deep.equal([
      ['a', 'email', 1],
      ['b', 'sms', 0],
      ['c', 'webhook', 0],
    ]);
    expect(specs.map((s) => [s.email, s.sms, s.webhook])).to.deep.equal([
      [email, undefined, undefined],
      [undefined, sms, undefined],
      [undefined, undefined, webhook],
    ]);
    for (const spec of specs) {
      expect(spec).to.deep.include({ tenant: 'shop', groupId: 'group', createdAt: NOW, data: { n: 1 } });
      expect(spec).not.to.have.any.keys('channels', 'attachments');
    }
  });

  const addresses: Readonly<Record<Channel, Recipient>> = {
    email: { email: 'a@example.com' },
    sms: { phone: '+15551230000' },
    push: { devices: [{ kind: 'fcm_token', token: 't' }] },
    webhook: { webhookUrl: 'https://example.com' },
    in_app: { id: 'ana' },
    slack: { slackAddress: 'C1' },
    discord: { discordWebhookUrl: 'https://discord.example.com' },
  };
  for (const channel of CHANNELS) {
    it(`needs the address of the channel ${channel}, and no other`, () => {
      expect(fault(aRequest({ channels: [channel], recipient: addresses[channel] }))).to.equal(undefined);
      const { reason, fields } = fault(aRequest({ channels: [channel], recipient: { locale: 'pt' } })) ?? {};
      expect(reason).to.equal('RECIPIENT_ADDRESS_MISSING');
      expect(fields).to.have.length(1);
      expect(fields?.[0]).to.match(/^notification\.recipient\./);
    });
  }

  it('refuses a number that is too short, too long or of no country for a text message, and only there', () => {
    const invalid = { reason: 'INVALID_FIELD', fields: ['notification.recipient.phone'] };
    for (const phone of [
      '+1555123000',
      '+155512300001',
      '+55119999900001',
      '+4477009000',
      '+999123456789',
      '+4407700900000',
    ]) {
      const recipient = { email: 'ana@example.com', phone };
      expect(fault(aRequest({ channels: ['sms'], recipient })), phone).to.deep.equal(invalid);
      expect(fault(aRequest({ channels: ['email', 'sms'], recipient })), phone).to.deep.equal(invalid);
      expect(fault(aRequest({ channels: ['email'], recipient })), phone).to.equal(undefined);
    }
  });

  it('takes numbers that could be, in use or not: of tests, of films, of satellites', () => {
    for (const phone of ['+15551230000', '+447700900000', '+15005550006', '+5511999990000', '+881612345678']) {
      expect(fault(aRequest({ channels: ['sms'], recipient: { phone } })), phone).to.equal(undefined);
    }
  });

  it('takes a schedule up to 366 days ahead', () => {
    expect(MAX_SCHEDULE_AHEAD).to.equal(366 * DAY);
    expect(fault(aRequest({ scheduledFor: NOW + MAX_SCHEDULE_AHEAD }))).to.equal(undefined);
    const invalid = { reason: 'INVALID_FIELD', fields: ['notification.scheduled_for'] };
    expect(fault(aRequest({ scheduledFor: NOW + MAX_SCHEDULE_AHEAD + 1 }))).to.deep.equal(invalid);
  });

  it('refuses an expiry at or before the schedule', () => {
    expect(fault(aRequest({ scheduledFor: NOW + 5, expiresAt: NOW + 6 }))).to.equal(undefined);
    const invalid = { reason: 'INVALID_FIELD', fields: ['notification.expires_at'] };
    expect(fault(aRequest({ scheduledFor: NOW + 5, expiresAt: NOW + 5 }))).to.deep.equal(invalid);
  });

  it('takes attachments up to 10 MB in all', () => {
    const file = (size: number) => ({ filename: 'a', mimeType: 'text/plain', content: new Uint8Array(size) });
    expect(fault(aRequest({ attachments: [file(MAX_ATTACHMENT_BYTES - 1), file(1)] }))).to.equal(undefined);
    const invalid = { reason: 'INVALID_FIELD', fields: ['notification.email.attachments'] };
    expect(fault(aRequest({ attachments: [file(MAX_ATTACHMENT_BYTES), file(1)] }))).to.deep.equal(invalid);
  });

  it('refuses headers that the service sets itself, however they are written', () => {
    const email = (name: string) => aRequest({ email: { cc: [], bcc: [], headers: { [name]: 'x' } } });
    const webhook = (name: string) => aRequest({ webhook: { method: 'POST', headers: { [name]: 'x' } } });
    for (const name of ['BCC', 'from', 'Subject']) expect(fault(email(name))?.reason, name).to.equal('INVALID_FIELD');
    for (const name of ['Host', 'content-length']) expect(fault(webhook(name))?.reason, name).to.equal('INVALID_FIELD');
    expect(fault(email('X-Campaign'))).to.equal(undefined);
    expect(fault(webhook('X-Campaign'))).to.equal(undefined);
  });

  it('asks for the content of every channel', () => {
    const asked: Channel[] = [];
    resolve(aRequest({ channels: ['sms', 'email'] }), IDS, NOW, ({ channel }) => void asked.push(channel));
    expect(asked).to.deep.equal(['sms', 'email']);
  });
});
