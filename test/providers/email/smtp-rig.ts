import { expect } from 'chai';
import { smtp } from '../../../src/providers/email/smtp.ts';
import type { Call, EmailMessage, Provider } from '../../../src/providers/provider.ts';
import { startSmtp, type ReceivedMail } from '../../support/start-smtp.ts';
import { KEY } from '../conformance.ts';
import { openProvider, type GivenSettings } from '../open-provider.ts';

/** The sender of messages that name none. */
export const FROM = { email: 'shop@example.org', name: 'Shop' };

export const call = (): Call => ({ key: KEY, signal: new AbortController().signal });

export function openSmtp(port: number, settings: GivenSettings = {}): Promise<Provider> {
  return openProvider(
    smtp,
    { host: '127.0.0.1', port, ...settings },
    { senders: { emailAddress: FROM.email, emailName: FROM.name } },
  );
}

/** Sends through a real server and hands back what arrived. */
export async function deliver(message: EmailMessage, settings: GivenSettings = {}): Promise<ReceivedMail> {
  await using server = await startSmtp();
  await using provider = await openSmtp(server.port, settings);
  const result = await provider.send(message, call());
  expect(result.outcome).to.equal('sent');
  const [mail] = server.mails;
  if (mail === undefined) throw new Error('no mail arrived');
  return mail;
}
