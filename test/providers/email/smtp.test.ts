import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { EmailMessage, Message, SendResult } from '../../../src/providers/provider.ts';
import { startSmtp, type SmtpServerSettings } from '../../support/start-smtp.ts';
import { describeProvider, KEY, type Behaviour, type Limits, type Rig } from '../conformance.ts';
import { email } from '../messages.ts';
import type { GivenSettings } from '../open-provider.ts';
import { startScriptedSmtp, type Script, type Step } from './scripted-smtp.ts';
import { call, deliver, openSmtp } from './smtp-rig.ts';

const LOGIN = { username: 'relay-user', password: 'pa55word-of-relay' };
const TLS = {
  key: readFileSync(new URL('../fixtures/localhost-key.pem', import.meta.url), 'utf8'),
  cert: readFileSync(new URL('../fixtures/localhost-cert.pem', import.meta.url), 'utf8'),
};
const OK_EHLO = '250-scripted\r\n250 PIPELINING';
const AUTH_EHLO = '250-scripted\r\n250 AUTH PLAIN';

async function sendScripted(
  script: Script,
  message: EmailMessage = email(),
  settings: GivenSettings = {},
): Promise<SendResult> {
  await using server = await startScriptedSmtp(script);
  await using smtp = await openSmtp(server.port, settings);
  return await smtp.send(message, call());
}

const SCRIPTS: Record<Exclude<Behaviour, 'absent'>, Script> = {
  accept: {},
  silent_before: { greeting: 'hang' },
  silent_after: { dot: 'hang' },
  reset_after: { dot: 'reset' },
  echo_credentials: {
    ehlo: AUTH_EHLO,
    auth: `535 no ${LOGIN.password} ${Buffer.from(`\0${LOGIN.username}\0${LOGIN.password}`).toString('base64')}`,
  },
};

async function openRig(behaviour: Behaviour, limits: Limits): Promise<Rig<Message>> {
  const server = await startScriptedSmtp(behaviour === 'absent' ? {} : SCRIPTS[behaviour]);
  let taken = 0;
  server.onMessage(() => (taken += 1));
  if (behaviour === 'absent') await server[Symbol.asyncDispose]();
  const provider = await openSmtp(server.port, {
    ...(behaviour === 'echo_credentials' ? { ...LOGIN, ignoreTls: true } : {}),
    connectionTimeout: limits.timeoutMs / 1_000,
    greetingTimeout: limits.timeoutMs / 1_000,
    socketTimeout: limits.timeoutMs / 1_000,
    maxConnections: limits.maxConcurrent,
  });
  return {
    provider,
    message: email(),
    credentials: [LOGIN.password, Buffer.from(`\0${LOGIN.username}\0${LOGIN.password}`).toString('base64')],
    connected: () => server.reached('greeting'),
    arrived: () => server.reached('dot'),
    get taken() {
      return taken;
    },
    async [Symbol.asyncDispose]() {
      await provider[Symbol.asyncDispose]();
      if (behaviour !== 'absent') await server[Symbol.asyncDispose]();
    },
  };
}

describeProvider({ name: 'smtp', open: openRig });

describe('smtp reads an answer by stage and code', () => {
  const cases: readonly (readonly [string, Script, Partial<SendResult>])[] = [
    [
      'greeting 421',
      { greeting: '421 4.3.2 later' },
      { outcome: 'temporary_failure', providerDown: true, code: '421' },
    ],
    ['greeting 554', { greeting: '554 5.7.1 not you' }, { outcome: 'provider_error', code: '554' }],
    ['no greeting, closed', { greeting: 'close' }, { outcome: 'temporary_failure', providerDown: true }],
    ['no greeting, reset', { greeting: 'reset' }, { outcome: 'temporary_failure', providerDown: true }],
    ['EHLO 421', { ehlo: '421 4.3.2 later' }, { outcome: 'temporary_failure', providerDown: true }],
    ['MAIL FROM 451', { mail: '451 4.3.0 trouble' }, { outcome: 'temporary_failure', providerDown: true }],
    ['MAIL FROM 421 4.7.0', { mail: '421 4.7.0 too many connections' }, { outcome: 'rate_limited' }],
    ['MAIL FROM 450 4.7.1', { mail: '450 4.7.1 too much mail' }, { outcome: 'rate_limited' }],
    ['MAIL FROM 530', { mail: '530 5.7.0 log in' }, { outcome: 'provider_error', code: '530' }],
    ['MAIL FROM 550', { mail: '550 5.7.1 sender refused' }, { outcome: 'provider_error' }],
    ['MAIL FROM 552', { mail: '552 5.3.4 too large' }, { outcome: 'permanent_failure' }],
    ['MAIL FROM reset', { mail: 'reset' }, { outcome: 'temporary_failure', providerDown: true }],
    ['RCPT TO 550', { rcpt: '550 no such user' }, { outcome: 'invalid_recipient', code: '550' }],
    ['RCPT TO 550 5.1.1', { rcpt: '550 5.1.1 no such user' }, { outcome: 'invalid_recipient' }],
    ['RCPT TO 551', { rcpt: '551 moved' }, { outcome: 'invalid_recipient' }],
    ['RCPT TO 553', { rcpt: '553 5.1.3 bad syntax' }, { outcome: 'invalid_recipient' }],
    ['RCPT TO 554 5.1.2', { rcpt: '554 5.1.2 bad domain' }, { outcome: 'invalid_recipient' }],
    ['RCPT TO 550 5.7.1', { rcpt: '550 5.7.1 blocked' }, { outcome: 'permanent_failure' }],
    ['RCPT TO 554', { rcpt: '554 refused' }, { outcome: 'permanent_failure' }],
    ['RCPT TO 530', { rcpt: '530 5.7.0 log in' }, { outcome: 'provider_error' }],
    ['RCPT TO 450', { rcpt: '450 4.2.0 greylisted' }, { outcome: 'temporary_failure', providerDown: false }],
    ['RCPT TO 452', { rcpt: '452 4.2.2 full' }, { outcome: 'temporary_failure', providerDown: false }],
    ['RCPT TO 451 4.3.0', { rcpt: '451 4.3.0 trouble' }, { outcome: 'temporary_failure', providerDown: true }],
    ['RCPT TO reset', { rcpt: 'reset' }, { outcome: 'temporary_failure', providerDown: true }],
    ['DATA 554', { data: '554 5.7.1 no' }, { outcome: 'permanent_failure' }],
    ['DATA 451', { data: '451 4.2.0 later' }, { outcome: 'temporary_failure', providerDown: false }],
    ['DATA reset', { data: 'reset' }, { outcome: 'temporary_failure', providerDown: true }],
    ['message 554', { dot: '554 5.7.1 spam' }, { outcome: 'permanent_failure', code: '554' }],
    ['message 552', { dot: '552 5.3.4 too large' }, { outcome: 'permanent_failure' }],
    ['message 451', { dot: '451 4.7.1 later' }, { outcome: 'temporary_failure', providerDown: false }],
    ['message 421', { dot: '421 4.3.2 closing' }, { outcome: 'temporary_failure', providerDown: true }],
    ['message 554, without an end', { dot: 'unended 554 5.7.1 spam' }, { outcome: 'permanent_failure', code: '554' }],
    ['message, then closed', { dot: 'close' }, { outcome: 'unknown' }],
    ['message, then nonsense', { dot: 'what is this' }, { outcome: 'unknown' }],
    [
      'STARTTLS 454',
      { ehlo: '250-x\r\n250 STARTTLS', starttls: '454 4.7.0 no' },
      { outcome: 'temporary_failure', providerDown: true },
    ],
  ];
  for (const [name, script, expected] of cases) {
    it(`${name}: ${expected.outcome}`, async () => {
      expect(await sendScripted(script)).to.include(expected);
    });
    if ('mail' in script || 'rcpt' in script || 'data' in script) {
      it(`${name}: ${expected.outcome}, one command at a time`, async () => {
        expect(await sendScripted({ ...script, ehlo: '250 scripted' })).to.include(expected);
      });
    }
  }

  it('never goes without its login where the relay offers none', async () => {
    await using server = await startScriptedSmtp({ ehlo: OK_EHLO, auth: '502 5.5.2 what', rcpt: '550 no relaying' });
    await using smtp = await openSmtp(server.port, { ...LOGIN, ignoreTls: true });
    expect(await smtp.send(email(), call())).to.include({ outcome: 'provider_error', code: '502' });
    expect(await smtp.check?.(new AbortController().signal)).to.include({ ok: false });
  });

  const logins: readonly (readonly [string, Step, Partial<SendResult>])[] = [
    ['AUTH 535', '535 5.7.8 bad credentials', { outcome: 'provider_error', code: '535' }],
    ['AUTH 454', '454 4.7.0 later', { outcome: 'temporary_failure', providerDown: true }],
    ['AUTH reset', 'reset', { outcome: 'temporary_failure', providerDown: true }],
  ];
  for (const [name, auth, expected] of logins) {
    it(`${name}: ${expected.outcome}`, async () => {
      const result = await sendScripted({ ehlo: AUTH_EHLO, auth }, email(), { ...LOGIN, ignoreTls: true });
      expect(result).to.include(expected);
    });
  }
});

describe('smtp knows how far a message has come', () => {
  const large = email({ text: 'A line of the text.\r\n'.repeat(400_000) });

  it('is a temporary failure when the connection breaks inside the message, which the server then drops', async () => {
    expect(await sendScripted({ content: 'reset' }, large)).to.include({ outcome: 'temporary_failure' });
  });

  it('does not believe a server that says yes before it has the message', async () => {
    expect(await sendScripted({ content: '250 2.0.0 queued' }, large)).to.include({ outcome: 'unknown' });
  });

  it('is a temporary failure when it is aborted while the server waits to take the message', async () => {
    await using server = await startScriptedSmtp({ ehlo: OK_EHLO, data: 'hang' });
    await using smtp = await openSmtp(server.port);
    const controller = new AbortController();
    const running = smtp.send(email(), { key: KEY, signal: controller.signal });
    await server.reached('data');
    controller.abort();
    expect((await running).outcome).to.equal('temporary_failure');
  });

  it('sends over a fresh connection when the server had closed the pooled one', async () => {
    await using server = await startScriptedSmtp({});
    await using smtp = await openSmtp(server.port);
    expect((await smtp.send(email(), call())).outcome).to.equal('sent');
    server.closeConnections();
    expect((await smtp.send(email(), call())).outcome).to.equal('sent');
    expect(server.connections).to.equal(2);
  });

  it('sends one message after the other over one connection, also after a refused one', async () => {
    let refuse = true;
    await using server = await startSmtp({
      onRcptTo: () => (refuse ? { code: 550, text: '5.1.1 unknown' } : undefined),
    });
    await using smtp = await openSmtp(server.port, { maxConnections: 1 });
    expect((await smtp.send(email(), call())).outcome).to.equal('invalid_recipient');
    refuse = false;
    expect((await smtp.send(email(), call())).outcome).to.equal('sent');
    expect(server.connections).to.equal(1);
  });
});

describe('smtp with copies', () => {
  const copied = email({ cc: [{ email: 'cc@example.com' }], bcc: [{ email: 'hidden@example.com' }] });
  const refusing = (...refused: string[]): SmtpServerSettings => ({
    onRcptTo: (address) => (refused.includes(address) ? { code: 550, text: '5.1.1 unknown' } : undefined),
  });

  it('reaches all of them and names no blind copy', async () => {
    const mail = await deliver(copied);
    expect(mail.to).to.have.members(['ada@example.com', 'cc@example.com', 'hidden@example.com']);
    expect(mail.raw).not.to.contain('hidden@');
  });

  it('is sent, with a detail, when only a copy was refused', async () => {
    await using server = await startSmtp(refusing('cc@example.com'));
    await using smtp = await openSmtp(server.port);
    const result = await smtp.send(copied, call());
    expect(result.outcome).to.equal('sent');
    expect(result.detail).to.contain('5.1.1');
  });

  it('is not sent when the recipient itself was refused and the copies were taken', async () => {
    await using server = await startSmtp(refusing('ada@example.com'));
    await using smtp = await openSmtp(server.port);
    expect((await smtp.send(copied, call())).outcome).to.equal('invalid_recipient');
  });

  it("takes the recipient's own answer when all were refused for different reasons", async () => {
    await using server = await startSmtp({
      onRcptTo: (address) =>
        address === 'ada@example.com' ? { code: 550, text: '5.1.1 unknown' } : { code: 450, text: '4.2.0 later' },
    });
    await using smtp = await openSmtp(server.port);
    expect((await smtp.send(copied, call())).outcome).to.equal('invalid_recipient');
  });
});

describe('smtp over TLS', () => {
  const trusted = { host: 'localhost', caFile: TLS.cert };

  it('upgrades by STARTTLS and logs in', async () => {
    await using server = await startSmtp({ tls: TLS, login: LOGIN });
    await using smtp = await openSmtp(server.port, { ...trusted, ...LOGIN });
    expect((await smtp.send(email(), call())).outcome).to.equal('sent');
    expect(server.mails[0]).to.include({ secure: true, user: LOGIN.username });
  });

  it('speaks TLS from the first byte', async () => {
    await using server = await startSmtp({ tls: TLS, secure: true });
    await using smtp = await openSmtp(server.port, { ...trusted, secure: true });
    expect((await smtp.send(email(), call())).outcome).to.equal('sent');
  });

  it('is a provider error when the password is wrong', async () => {
    await using server = await startSmtp({ tls: TLS, login: LOGIN });
    await using smtp = await openSmtp(server.port, { ...trusted, ...LOGIN, password: 'another' });
    expect(await smtp.send(email(), call())).to.include({ outcome: 'provider_error', code: '535' });
  });

  for (const secure of [false, true]) {
    it(`is a provider error when the certificate is not trusted (${secure ? 'TLS' : 'STARTTLS'})`, async () => {
      await using server = await startSmtp({ tls: TLS, secure });
      await using smtp = await openSmtp(server.port, { host: 'localhost', secure });
      expect((await smtp.send(email(), call())).outcome).to.equal('provider_error');
      expect(server.mails).to.be.empty;
    });

    it(`is a provider error when the certificate is another host's (${secure ? 'TLS' : 'STARTTLS'})`, async () => {
      await using server = await startSmtp({ tls: TLS, secure });
      await using smtp = await openSmtp(server.port, {
        ...trusted,
        secure,
        tlsServerName: 'mail.example.com',
      });
      expect((await smtp.send(email(), call())).outcome).to.equal('provider_error');
    });
  }

  it('is a temporary failure when the server does not speak TLS', async () => {
    await using server = await startSmtp();
    await using smtp = await openSmtp(server.port, { secure: true });
    expect(await smtp.send(email(), call())).to.include({ outcome: 'temporary_failure', providerDown: true });
  });

  it('never shows credentials to a server without TLS', async () => {
    await using server = await startScriptedSmtp({ ehlo: AUTH_EHLO, starttls: '502 5.5.1 no' });
    await using smtp = await openSmtp(server.port, LOGIN);
    expect((await smtp.send(email(), call())).outcome).to.equal('temporary_failure');
    expect(server.commands.filter((line) => /^AUTH/i.test(line))).to.be.empty;
  });
});
