/** E-mail over SMTP (RFC 5321), with pooled connections and, where a key is given, a DKIM signature (RFC 6376). */
import type { NodemailerError, SMTPPoolSentMessageInfo } from 'nodemailer';
import { defineProvider, type OpenContext, type ProviderDefinition } from '../definition.ts';
import type { Call, Check, EmailMessage, Provider, SendResult } from '../provider.ts';
import { redactor } from '../redact.ts';
import { isUsableAddress, neededSender, unusableAddress } from './message.ts';
import { composeMail } from './smtp-mail.ts';
import { outcomeOf } from './smtp-outcome.ts';
import { SMTP_SETTINGS, smtpFaults, type SmtpSettings } from './smtp-settings.ts';
import { openTransport, type Dialogue, type TrackedMail } from './smtp-transport.ts';

export const smtp = relay('smtp', 'An SMTP relay.');
export const smtpFallback = relay(
  'smtp_fallback',
  'A second SMTP relay, for fail-over: providers = ["smtp", "smtp_fallback"].',
);

function relay(name: string, doc: string): ProviderDefinition {
  return defineProvider({
    name,
    channels: ['email'],
    doc,
    settings: SMTP_SETTINGS,
    faults: (settings, senders) => smtpFaults(`notifications.email.${name}`, settings, senders),
    open: openSmtp,
  });
}

async function openSmtp(settings: SmtpSettings, context: OpenContext): Promise<Provider<EmailMessage>> {
  const { username, password } = settings;
  const sender = neededSender(settings, context.senders);
  const { createTransport } = await import('nodemailer');
  const transport = openTransport(createTransport, settings);
  const redact = redactor([password, `\0${username}\0${password}`]);
  return {
    name: context.name,
    channel: 'email',
    async send(message: EmailMessage, call: Call): Promise<SendResult> {
      const from = message.from ?? sender;
      const refused = unusableAddress(message, from, isUsableAddress);
      if (refused !== undefined) return refused;
      const dialogue: Dialogue = { handedOver: false };
      try {
        const mail: TrackedMail = { ...composeMail(message, from, call.key), signal: call.signal, dialogue };
        const info = await transport.sendMail(mail);
        if (dialogue.handedOver) return taken(info, redact);
        // Said before the server had the message: nodemailer takes any answer for the one to the dot.
        return { outcome: 'unknown', code: 'early_answer', detail: redact(info.response) };
      } catch (thrown) {
        const error = decisive(asMailError(thrown));
        return outcomeOf(error, dialogue.handedOver, redact(error.response ?? error.message));
      }
    },
    check: (signal) => check(() => transport.verify(), redact, signal),
    async [Symbol.asyncDispose]() {
      // The pipeline has finished by now; what is still under way ends as the dialogue stands.
      transport.close({ force: true });
    },
  };
}

/**
 * Connects, and logs in where there is a password. nodemailer cannot break that off: the answer does not wait for it after
 * an abort, and the connection ends with its own time limits.
 */
async function check(
  verify: () => Promise<true>,
  redact: (text: string) => string,
  signal: AbortSignal,
): Promise<Check> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([verify(), aborted]);
    return { ok: true, detail: 'the relay can be used' };
  } catch (thrown) {
    const error = asMailError(thrown);
    return { ok: false, detail: redact(error.response ?? error.message) };
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The server took the message; a refused recipient stands beside it. */
function taken(info: SMTPPoolSentMessageInfo, redact: (text: string) => string): SendResult {
  const refused = info.rejectedErrors ?? [];
  // Recipients go out as To, Cc, Bcc, so the first is the target itself. The others are copies.
  const own = refused.find((one) => one.recipient === info.envelope.to[0]);
  if (own !== undefined) return outcomeOf(own, false, redact(own.response ?? own.message));
  const copies = refused.map((one) => redact(one.response ?? one.message)).join('; ');
  return {
    outcome: 'sent',
    messageId: info.messageId,
    code: '250',
    detail: copies === '' ? redact(info.response) : `copies refused: ${copies}`,
  };
}

/** With all recipients refused the error speaks for any of them: the target's own is the first. */
function decisive(error: NodemailerError): NodemailerError {
  return error.rejectedErrors?.[0] ?? error;
}

function asMailError(thrown: unknown): NodemailerError {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
