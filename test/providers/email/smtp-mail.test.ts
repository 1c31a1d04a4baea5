import { expect } from 'chai';
import type { EmailMessage, SendResult } from '../../../src/providers/provider.ts';
import { startSmtp } from '../../support/start-smtp.ts';
import { KEY } from '../conformance.ts';
import { email } from '../messages.ts';
import { startScriptedSmtp } from './scripted-smtp.ts';
import { call, deliver, FROM, openSmtp } from './smtp-rig.ts';

describe('an e-mail of smtp', () => {
  it('carries sender, recipient, subject, both bodies and the reply address', async () => {
    const mail = await deliver(
      email({
        toName: 'Ada Lovelace',
        html: '<p>Olá</p>',
        subject: 'Olá, Ada',
        replyTo: { email: 'help@example.org' },
      }),
    );
    expect(mail.parsed.from).to.include({ address: FROM.email, name: FROM.name });
    expect(mail.parsed.to?.[0]).to.include({ address: 'ada@example.com', name: 'Ada Lovelace' });
    expect(mail.parsed.subject).to.equal('Olá, Ada');
    expect(mail.parsed.html).to.contain('Olá');
    expect(mail.parsed.text).to.contain('A short text.');
    expect(mail.parsed.replyTo?.[0]).to.include({ address: 'help@example.org' });
  });

  it("names the message's own sender where it has one", async () => {
    const mail = await deliver(email({ from: { email: 'billing@example.net' } }));
    expect(mail.from).to.equal('billing@example.net');
  });

  it('has the same Message-ID on every try, on the domain of the sender', async () => {
    const first = await deliver(email());
    const second = await deliver(email());
    expect(first.parsed.messageId).to.equal(`<${KEY}@example.org>`);
    expect(second.parsed.messageId).to.equal(first.parsed.messageId);
  });

  it('carries attachments, also such that the HTML refers to', async () => {
    const mail = await deliver(
      email({
        html: '<img src="cid:logo">',
        attachments: [
          { filename: 'bill.pdf', content: Uint8Array.of(1, 2, 3, 0, 255), mimeType: 'application/pdf' },
          { filename: 'logo.png', content: Uint8Array.of(9), mimeType: 'image/png', contentId: 'logo' },
        ],
      }),
    );
    const [bill, logo] = [...mail.parsed.attachments].toSorted((a, b) => a.mimeType.localeCompare(b.mimeType));
    expect(bill).to.include({ filename: 'bill.pdf', mimeType: 'application/pdf', disposition: 'attachment' });
    expect(Buffer.from(bill?.content as ArrayBuffer)).to.deep.equal(Buffer.from([1, 2, 3, 0, 255]));
    expect(logo).to.include({ filename: 'logo.png', contentId: '<logo>' });
  });

  for (const mimeType of ['multipart/mixed', 'message/rfc822']) {
    it(`carries a ${mimeType} byte by byte`, async () => {
      const content = Buffer.from(`Subject: x\n\n${'é'.repeat(1_000)}\n`);
      const { parsed } = await deliver(email({ attachments: [{ filename: 'a.eml', content, mimeType }] }));
      const [file] = parsed.attachments;
      expect(file?.filename).to.equal('a.eml');
      expect(Buffer.from(file?.content as ArrayBuffer)).to.deep.equal(content);
    });
  }

  it('keeps List-Unsubscribe to the letter, however long', async () => {
    const url = `<https://example.org/u/${'x'.repeat(300)}>, <mailto:u@example.org>`;
    const mail = await deliver(
      email({ headers: { 'List-Unsubscribe': url, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' } }),
    );
    expect(mail.raw.split('\r\n')).to.include(`List-Unsubscribe: ${url}`);
    expect(mail.raw.split('\r\n')).to.include('List-Unsubscribe-Post: List-Unsubscribe=One-Click');
  });

  for (const priority of ['urgent', 'high', 'normal', 'low'] as const) {
    const marked = priority === 'urgent' || priority === 'high';
    it(`is ${marked ? '' : 'not '}marked as important at priority ${priority}`, async () => {
      const { raw } = await deliver(email({ priority }));
      expect(/^X-Priority: 1/m.test(raw)).to.equal(marked);
    });
  }

  const BREAK = 'x\r\nBcc: evil@example.com\r\n\r\nbody';
  const attempts: readonly (readonly [string, Partial<EmailMessage>])[] = [
    ['subject', { subject: BREAK }],
    ["recipient's name", { toName: BREAK }],
    ["sender's name", { from: { ...FROM, name: BREAK } }],
    ["reply address's name", { replyTo: { email: 'help@example.org', name: BREAK } }],
    ["copy's name", { cc: [{ email: 'cc@example.com', name: BREAK }] }],
    ['header value', { headers: { 'X-Shop': BREAK } }],
    ['List-Unsubscribe', { headers: { 'List-Unsubscribe': BREAK } }],
    ['header name', { headers: { [`X-Shop: ${BREAK}`]: 'x' } }],
    ['header name with a bare line feed', { headers: { 'X-Shop\nBcc': 'evil@example.com' } }],
    ['file name', { attachments: [{ filename: BREAK, content: Uint8Array.of(1), mimeType: 'text/plain' }] }],
    ['type of a file', { attachments: [{ filename: 'a', content: Uint8Array.of(1), mimeType: BREAK }] }],
    ['content id', { attachments: [{ filename: 'a', content: Uint8Array.of(1), mimeType: 'a/b', contentId: BREAK }] }],
  ];
  for (const [where, given] of attempts) {
    it(`cannot be given a header through a line break in the ${where}`, async () => {
      const mail = await deliver(email(given));
      expect(mail.to).not.to.include('evil@example.com');
      expect(mail.raw).not.to.match(/^Bcc:/im);
      expect(mail.parsed.headers.map(({ key }) => key)).not.to.include('bcc');
      expect(mail.parsed.text?.trim()).to.equal('A short text.');
    });
  }

  it('has no control character in a header', async () => {
    const odd = 'a\0b\u001bc\u007fd';
    const mail = await deliver(email({ subject: odd, toName: odd, headers: { 'X-Shop': odd } }));
    const [head = ''] = mail.raw.split('\r\n\r\n');
    expect(head.replaceAll('\r\n', '')).not.to.match(/\p{Cc}/u);
    expect(mail.parsed.subject).to.equal('a b c d');
  });

  it('is not overridden by headers of the caller that are ours', async () => {
    const forged = {
      From: 'evil@example.com',
      sender: 'evil@example.com',
      To: 'evil@example.com',
      CC: 'evil@example.com',
      Bcc: 'evil@example.com',
      'Reply-To': 'evil@example.com',
      Subject: 'evil',
      Date: 'evil',
      'message-id': '<evil@example.com>',
      'MIME-Version': 'evil',
      'Content-Type': 'text/evil',
      'Return-Path': '<evil@example.com>',
      Received: 'evil',
      'DKIM-Signature': 'evil',
      'Resent-To': 'evil@example.com',
      'X-Own': 'kept',
    };
    const mail = await deliver(email({ headers: forged }));
    expect(mail.raw).not.to.contain('evil');
    expect(mail.raw).to.contain('X-Own: kept');
    expect(mail.to).to.deep.equal(['ada@example.com']);
  });

  const addresses: readonly (readonly [string, Partial<EmailMessage>, SendResult['outcome']])[] = [
    ['recipient', { to: 'a@example.com>\r\nRCPT TO:<evil@example.com' }, 'invalid_recipient'],
    ['recipient without a domain', { to: 'root' }, 'invalid_recipient'],
    ['sender', { from: { email: 'a@b\r\nX' } }, 'permanent_failure'],
    ['copy', { cc: [{ email: '<a@b>' }] }, 'permanent_failure'],
  ];
  for (const [where, given, outcome] of addresses) {
    it(`is refused for an address that cannot be one: ${where}`, async () => {
      await using server = await startSmtp();
      await using smtp = await openSmtp(server.port);
      expect((await smtp.send(email(given), call())).outcome).to.equal(outcome);
      expect(server.mails).to.be.empty;
    });
  }

  it('goes to one recipient only, also when its address contains a comma', async () => {
    await using server = await startScriptedSmtp({});
    await using smtp = await openSmtp(server.port);
    await smtp.send(email({ to: '"a,evil@example.com"@example.com' }), call());
    expect(server.commands.filter((line) => line.startsWith('RCPT'))).to.have.length(1);
  });
});
