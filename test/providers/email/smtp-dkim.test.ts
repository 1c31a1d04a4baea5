import { createHash, generateKeyPairSync, verify, type KeyObject } from 'node:crypto';
import { expect } from 'chai';
import type { EmailMessage, SendResult } from '../../../src/providers/provider.ts';
import { KEY } from '../conformance.ts';
import { email } from '../messages.ts';
import { startScriptedSmtp, type Script } from './scripted-smtp.ts';
import { call, deliver, openSmtp } from './smtp-rig.ts';

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' });
const RSA = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const DKIM = { dkimDomain: 'example.org', dkimSelector: 'mail', dkimKeyFile: pem(RSA.privateKey) };
const ONE_CLICK = {
  'List-Unsubscribe': '<https://example.org/u/abc>, <mailto:u@example.org>',
  'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
};

async function sendScripted(script: Script, message: EmailMessage = email()): Promise<SendResult> {
  await using server = await startScriptedSmtp(script);
  await using smtp = await openSmtp(server.port, DKIM);
  return await smtp.send(message, call());
}

interface Signature {
  readonly tags: Readonly<Record<string, string>>;
  readonly bodyHolds: boolean;
  readonly headersHold: boolean;
}

/** RFC 6376 §3.7 for relaxed/relaxed and rsa-sha256, as a receiver does it. */
function checkSignature(raw: string, key: KeyObject): Signature {
  const end = raw.indexOf('\r\n\r\n');
  const fields = raw.slice(0, end).split(/\r\n(?![ \t])/);
  const signature = fields.find((field) => /^dkim-signature:/i.test(field)) ?? '';
  const tags: Record<string, string> = {};
  for (const tag of signature.slice(signature.indexOf(':') + 1).split(';')) {
    const at = tag.indexOf('=');
    if (at > 0) tags[tag.slice(0, at).trim()] = tag.slice(at + 1).replaceAll(/\s/g, '');
  }
  const signed = [
    ...pick(fields, (tags['h'] ?? '').split(':')).map((field) => `${relaxed(field)}\r\n`),
    relaxed(signature.replace(/(\bb=)[^;]*$/, '$1')),
  ].join('');
  const bodyHash = createHash('sha256')
    .update(relaxedBody(raw.slice(end + 4)))
    .digest('base64');
  return {
    tags,
    bodyHolds: tags['bh'] === bodyHash,
    headersHold: verify('sha256', Buffer.from(signed), key, Buffer.from(tags['b'] ?? '', 'base64')),
  };
}

/** Of several fields of one name the last one first; a field that is not there counts as nothing (§5.4.2). */
function pick(fields: readonly string[], names: readonly string[]): string[] {
  const left = [...fields];
  return names.flatMap((name) => {
    const index = left.findLastIndex((field) => field.toLowerCase().startsWith(`${name.toLowerCase()}:`));
    return index === -1 ? [] : left.splice(index, 1);
  });
}

/** §3.4.2 */
function relaxed(field: string): string {
  const at = field.indexOf(':');
  const value = field
    .slice(at + 1)
    .replaceAll('\r\n', '')
    .replaceAll(/[ \t]+/g, ' ')
    .trim();
  return `${field.slice(0, at).trim().toLowerCase()}:${value}`;
}

/** §3.4.4 */
function relaxedBody(body: string): string {
  const lines = body.replaceAll(/[ \t]+/g, ' ').replaceAll(/ (?=\r\n|$)/g, '');
  return lines.replace(/(\r\n)*$/, '\r\n').replace(/^\r\n$/, '');
}

describe('smtp signs by DKIM', () => {
  const both = email({ text: 'Plain  text \n\n\n', html: '<p>Olá</p>', headers: ONE_CLICK });

  it('so that a receiver finds the signature good', async () => {
    const { tags, bodyHolds, headersHold } = checkSignature((await deliver(both, DKIM)).raw, RSA.publicKey);
    expect(tags).to.include({ v: '1', a: 'rsa-sha256', c: 'relaxed/relaxed', d: 'example.org', s: 'mail' });
    expect({ bodyHolds, headersHold }).to.deep.equal({ bodyHolds: true, headersHold: true });
  });

  it('no mail where no key is given', async () => {
    expect((await deliver(both)).raw).not.to.match(/^DKIM-Signature:/im);
  });

  it('a large mail with attachments', async () => {
    const large = email({
      text: 'A line of the text.\r\n'.repeat(100_000),
      attachments: [
        { filename: 'a.bin', content: new Uint8Array(500_000).fill(7), mimeType: 'application/octet-stream' },
      ],
    });
    const { bodyHolds, headersHold } = checkSignature((await deliver(large, DKIM)).raw, RSA.publicKey);
    expect({ bodyHolds, headersHold }).to.deep.equal({ bodyHolds: true, headersHold: true });
  });

  // RFC 8058 §4: a mailbox provider offers one-click unsubscribing only where both are covered.
  for (const name of ['From', 'Subject', 'Date', 'To', 'List-Unsubscribe', 'List-Unsubscribe-Post']) {
    it(`so that a mail without its ${name} is no longer good`, async () => {
      const { raw } = await deliver(both, DKIM);
      const without = raw.replace(new RegExp(`^${name}:.*\\r\\n([ \\t].*\\r\\n)*`, 'm'), '');
      expect(without).to.have.length.below(raw.length);
      expect(checkSignature(without, RSA.publicKey).headersHold).to.equal(false);
    });
  }

  it('so that a mail with another body is no longer good', async () => {
    const { raw } = await deliver(both, DKIM);
    expect(checkSignature(raw.replace('Plain', 'Other'), RSA.publicKey).bodyHolds).to.equal(false);
  });
});

describe('smtp knows how far a signed message has come', () => {
  const cases: readonly (readonly [string, Script, SendResult['outcome']])[] = [
    ['MAIL FROM reset', { mail: 'reset' }, 'temporary_failure'],
    ['RCPT TO reset', { rcpt: 'reset' }, 'temporary_failure'],
    ['DATA reset', { data: 'reset' }, 'temporary_failure'],
    ['message, then closed', { dot: 'close' }, 'unknown'],
    ['message, then reset', { dot: 'reset' }, 'unknown'],
  ];
  for (const [name, script, expected] of cases) {
    it(`${name}: ${expected}`, async () => {
      expect((await sendScripted(script)).outcome).to.equal(expected);
      expect((await sendScripted({ ...script, ehlo: '250 scripted' })).outcome).to.equal(expected);
    });
  }

  it('is a temporary failure when the connection breaks inside the message', async () => {
    const large = email({ text: 'A line of the text.\r\n'.repeat(400_000) });
    expect((await sendScripted({ content: 'reset' }, large)).outcome).to.equal('temporary_failure');
  });

  it('is a temporary failure when it is aborted while the server waits to take the message', async () => {
    await using server = await startScriptedSmtp({ data: 'hang' });
    await using smtp = await openSmtp(server.port, DKIM);
    const controller = new AbortController();
    const running = smtp.send(email(), { key: KEY, signal: controller.signal });
    await server.reached('data');
    controller.abort();
    expect((await running).outcome).to.equal('temporary_failure');
  });
});
