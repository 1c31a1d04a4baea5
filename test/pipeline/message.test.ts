import { expect } from 'chai';

import type { Channel, Content } from '../../src/domain/notification.ts';
import { toMessage } from '../../src/pipeline/message.ts';
import { RenderError } from '../../src/pipeline/render-error.ts';
import { NOW, specOf } from './template-fixture.ts';

const TARGET = { address: 'to-address', attachments: [] };
const BASE = {
  notificationId: '019a0000-0000-7000-8000-000000000000',
  type: 'note',
  tenant: 'default',
  priority: 'normal',
  to: 'to-address',
};
const rendered = (content: Content) => ({ content, renderedAt: NOW });

const DEVICE = { kind: 'apns', token: 'to-address' } as const;

describe('a message', () => {
  it('of an e-mail carries content, options and attachments', () => {
    const attachments = [{ filename: 'a.txt', content: Uint8Array.of(1), mimeType: 'text/plain' }];
    const email = {
      from: { email: 'shop@x.example' },
      replyTo: { email: 'help@x.example' },
      cc: [{ email: 'c@x.example' }],
      bcc: [{ email: 'b@x.example' }],
      headers: { 'X-Order': '1' },
    };
    const spec = specOf({
      channel: 'email',
      email,
      recipient: { firstName: 'Ada', lastName: 'Lovelace' },
      expiresAt: 5,
    });
    const content = rendered({ subject: 's', htmlBody: 'h', textBody: 't' });
    expect(toMessage(spec, content, { address: 'to-address', attachments })).to.deep.equal({
      ...BASE,
      ...email,
      channel: 'email',
      expiresAt: 5,
      toName: 'Ada Lovelace',
      subject: 's',
      html: 'h',
      text: 't',
      attachments,
    });
  });

  it('of a plain e-mail has empty lists, and no sender: the provider has one', () => {
    const message = toMessage(specOf({ channel: 'email' }), rendered({ subject: 's', textBody: 't' }), TARGET);
    expect(message).to.deep.equal({
      ...BASE,
      channel: 'email',
      cc: [],
      bcc: [],
      subject: 's',
      text: 't',
      headers: {},
      attachments: [],
    });
  });

  it('has no line break in the name of its recipient', () => {
    const recipient = { firstName: 'Ada\r\nBcc: eve@x.example', lastName: ' ' };
    const message = toMessage(
      specOf({ channel: 'email', recipient }),
      rendered({ subject: 's', textBody: 't' }),
      TARGET,
    );
    expect(message).to.have.property('toName', 'Ada Bcc: eve@x.example');
  });

  it('of each other channel carries what that channel sends', () => {
    const push = { title: 't', body: 'b', actions: [] };
    const cases: [Channel, Content, object][] = [
      ['sms', { smsBody: 'm' }, { text: 'm', coding: 'text' }],
      ['slack', { textBody: 't' }, { text: 't' }],
      ['discord', { textBody: 't' }, { text: 't' }],
      ['push', { push }, { push, device: DEVICE }],
      ['in_app', { textBody: 't' }, { text: 't' }],
      ['in_app', { subject: 's', textBody: 't' }, { title: 's', text: 't' }],
      ['webhook', { webhookBody: null }, { method: 'POST', headers: {}, body: null }],
    ];
    for (const [channel, content, expected] of cases) {
      const message = toMessage(specOf({ channel }), rendered(content), { ...TARGET, device: DEVICE });
      expect(message).to.deep.equal({ ...BASE, channel, ...expected });
    }
  });

  it('of a webhook has the method and headers asked for', () => {
    const webhook = { method: 'PUT', headers: { 'X-Shop': '1' } } as const;
    const message = toMessage(specOf({ channel: 'webhook', webhook }), rendered({ webhookBody: { a: 1 } }), TARGET);
    expect(message).to.deep.equal({ ...BASE, channel: 'webhook', ...webhook, body: { a: 1 } });
  });

  it('is not made from content that lacks what the channel sends', () => {
    for (const channel of ['email', 'sms', 'push', 'webhook', 'in_app', 'slack', 'discord'] as const) {
      expect(() => toMessage(specOf({ channel }), rendered({}), TARGET), channel).to.throw(RenderError);
    }
  });
});
