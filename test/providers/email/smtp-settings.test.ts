import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { expect } from 'chai';
import type { Senders } from '../../../src/providers/definition.ts';
import { smtp, smtpFallback } from '../../../src/providers/email/smtp.ts';
import { startSmtp } from '../../support/start-smtp.ts';
import { KEY } from '../conformance.ts';
import { email } from '../messages.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';
import { startScriptedSmtp, type Script } from './scripted-smtp.ts';

const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' });
const RSA = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const PUBLIC_KEY = RSA.publicKey.export({ type: 'spki', format: 'pem' });
const DKIM = { dkimDomain: 'example.org', dkimSelector: 'mail', dkimKeyFile: pem(RSA.privateKey) };
const SENDERS: Senders = { emailAddress: 'shop@example.org', emailName: 'Shop' };

function faults(given: GivenSettings, senders: Senders = SENDERS): readonly string[] {
  return smtp.configure((name) => given[name] ?? smtp.settings[name]?.fallback ?? '').faults(senders);
}

describe('the settings of smtp', () => {
  const good: readonly (readonly [string, GivenSettings])[] = [
    ['their defaults', {}],
    ['a DKIM key', DKIM],
    ['a login in the clear, where asked for', { username: 'u', password: 'p', ignoreTls: true }],
  ];
  for (const [what, given] of good) {
    it(`may be ${what}`, () => {
      expect(faults(given)).to.be.empty;
    });
  }

  const short = generateKeyPairSync('rsa', { modulusLength: 768 }).privateKey;
  const bad: readonly (readonly [string, GivenSettings])[] = [
    ['a username without a password', { username: 'u' }],
    ['a password without a username', { password: 'p' }],
    ['STARTTLS both needed and ruled out', { requireTls: true, ignoreTls: true }],
    ['TLS both spoken and ruled out', { secure: true, ignoreTls: true }],
    ['a DKIM domain alone', { dkimDomain: 'example.org' }],
    ['a DKIM key without a selector', { ...DKIM, dkimSelector: '' }],
    ['a DKIM key that is none', { ...DKIM, dkimKeyFile: 'not a key' }],
    ['a DKIM key that is public', { ...DKIM, dkimKeyFile: PUBLIC_KEY }],
    ['a DKIM key of another kind', { ...DKIM, dkimKeyFile: pem(generateKeyPairSync('ed25519').privateKey) }],
    ['a DKIM key that is too short', { ...DKIM, dkimKeyFile: pem(short) }],
  ];
  for (const [what, given] of bad) {
    it(`may not be ${what}`, () => {
      expect(faults(given)).to.have.length(1);
    });
  }

  it('need a sender, of their own or the general one', () => {
    expect(faults({}, {})).to.have.length(1);
    expect(faults({ fromAddress: 'own@example.org' }, {})).to.be.empty;
  });

  it('have a fault told under the name of the relay that has it', () => {
    const [fault] = smtpFallback.configure((name) => smtpFallback.settings[name]?.fallback ?? '').faults({});
    expect(fault).to.contain('notifications.email.smtp_fallback.from_address');
  });

  it('have a sender that goes before the general one, part by part', async () => {
    const from = async (given: GivenSettings, senders: Senders = SENDERS): Promise<unknown> => {
      await using server = await startSmtp();
      const settings = { host: server.host, port: server.port, ...given };
      await using provider = await openProvider(smtp, settings, { senders });
      await provider.send(email(), { key: KEY, signal: new AbortController().signal });
      return server.mails[0]?.parsed.from;
    };
    expect(await from({})).to.deep.include({ address: 'shop@example.org', name: 'Shop' });
    expect(await from({ fromAddress: 'own@example.org' })).to.deep.include({
      address: 'own@example.org',
      name: 'Shop',
    });
    expect(await from({ fromAddress: 'own@example.org' }, { emailName: 'Shop' })).to.deep.include({
      address: 'own@example.org',
      name: 'Shop',
    });
    expect(await from({ fromName: 'Own' })).to.deep.include({ address: 'shop@example.org', name: 'Own' });
  });
});

describe('smtp checks its relay', () => {
  const LOGIN = { username: 'relay-user', password: 'pa55word-of-relay', ignoreTls: true };
  const ehlo = '250-scripted\r\n250 AUTH PLAIN';

  const cases: readonly (readonly [string, Script, boolean])[] = [
    ['good, when it takes the login', { ehlo }, true],
    ['not good, when it refuses the login', { ehlo, auth: `535 5.7.8 no ${LOGIN.password}` }, false],
    ['not good, when it greets nobody', { greeting: '554 5.7.1 not you' }, false],
  ];
  for (const [what, script, ok] of cases) {
    it(`and finds it ${what}, without sending anything`, async () => {
      await using server = await startScriptedSmtp(script);
      await using provider = await openProvider(smtp, { host: '127.0.0.1', port: server.port, ...LOGIN });
      const check = await provider.check?.(new AbortController().signal);
      expect(check?.ok).to.equal(ok);
      expect(check?.detail).to.be.a('string').that.is.not.empty;
      expect(check?.detail).not.to.contain(LOGIN.password);
      expect(server.commands.filter((line) => line.startsWith('MAIL'))).to.be.empty;
    });
  }

  it('and finds it not good, when nobody listens', async () => {
    const server = await startScriptedSmtp({});
    await server[Symbol.asyncDispose]();
    await using provider = await openProvider(smtp, { host: '127.0.0.1', port: server.port });
    expect((await provider.check?.(new AbortController().signal))?.ok).to.equal(false);
  });

  it('and ends with its signal', async () => {
    await using server = await startScriptedSmtp({ greeting: 'hang' });
    const settings = { host: '127.0.0.1', port: server.port, greetingTimeout: 60 };
    await using provider = await openProvider(smtp, settings);
    const controller = new AbortController();
    const checking = provider.check?.(controller.signal);
    await server.reached('greeting');
    controller.abort();
    expect((await checking)?.ok).to.equal(false);
  });

  it('and asks nobody when it was aborted in advance', async () => {
    await using server = await startScriptedSmtp({});
    await using provider = await openProvider(smtp, { host: '127.0.0.1', port: server.port });
    expect((await provider.check?.(AbortSignal.abort()))?.ok).to.equal(false);
    expect(server.connections).to.equal(0);
  });
});
