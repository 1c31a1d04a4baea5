import {
  createTransport,
  type NodemailerError,
  type SendMailOptions,
  type SMTPPoolOptions,
  type SMTPPoolSentMessageInfo,
  type Transporter,
} from 'nodemailer';
import type { EmailAddress } from '../../domain/notification.ts';
import type { Call, EmailMessage, Provider, SendResult } from '../provider.ts';
import { redactor } from '../redact.ts';
import { composeMail, isUsableAddress } from './smtp-mail.ts';
import { outcomeOf } from './smtp-outcome.ts';

export interface SmtpOptions {
  /** Its name in the configuration; `smtp` unless given. */
  readonly name?: string;
  readonly host: string;
  /** 587 (submission) unless given. */
  readonly port?: number;
  /** TLS from the first byte (usually port 465); otherwise STARTTLS is used where the server offers it. */
  readonly secure?: boolean;
  /** No mail without STARTTLS. Always so when there are credentials, which never travel in the clear. */
  readonly requireTls?: boolean;
  /** Never STARTTLS, and credentials in the clear: for a relay on the same machine. */
  readonly ignoreTls?: boolean;
  readonly username?: string;
  readonly password?: string;
  /** The sender of messages that name none. */
  readonly from: EmailAddress;
  readonly tls?: {
    /** Authorities, PEM, instead of the system's. */
    readonly ca?: string;
    /** The name on the certificate, when it is not `host`. */
    readonly servername?: string;
  };
  /** Milliseconds; 10 s unless given. */
  readonly connectionTimeoutMs?: number;
  /** Milliseconds; 10 s unless given. */
  readonly greetingTimeoutMs?: number;
  /** Milliseconds of silence after which a connection counts as dead; 30 s unless given. */
  readonly socketTimeoutMs?: number;
  /** Connections at the same time; 5 unless given. Further messages wait, and the wait ends with the call's signal. */
  readonly maxConnections?: number;
}

/** How far the dialogue of one message has come. */
interface Dialogue {
  handedOver: boolean;
}

type Pool = Transporter<SMTPPoolSentMessageInfo, SMTPPoolOptions>;

type TrackedMail = SendMailOptions & { readonly dialogue: Dialogue };

/** E-mail over SMTP (RFC 5321), with pooled connections. */
export function createSmtp(options: SmtpOptions): Provider<EmailMessage> {
  const transport = openTransport(options);
  const { username, password } = options;
  const redact = redactor([password, `\0${username}\0${password}`]);
  return {
    name: options.name ?? 'smtp',
    channel: 'email',
    async send(message: EmailMessage, call: Call): Promise<SendResult> {
      const from = message.from ?? options.from;
      const refused = unusableAddress(message, from);
      if (refused !== undefined) return refused;
      const dialogue: Dialogue = { handedOver: false };
      try {
        const mail: TrackedMail = { ...composeMail(message, from, call.key), signal: call.signal, dialogue };
        return taken(await transport.sendMail(mail), redact);
      } catch (thrown) {
        const error = decisive(asMailError(thrown));
        return outcomeOf(error, dialogue.handedOver, redact(error.response ?? error.message));
      }
    },
    async [Symbol.asyncDispose]() {
      // The pipeline has finished by now; what is still under way ends as the dialogue stands.
      transport.close({ force: true });
    },
  };
}

function openTransport(options: SmtpOptions): Pool {
  const transport: Pool = createTransport(poolOptions(options));
  // The connection begins to read the message only after the server's 354, and ends it with the dot only after it has
  // read the last byte. So from the end of this very stream on the server may have the whole message; before, it cannot.
  transport.use('stream', (mail, next) => {
    // Every message of this transport is made in `send`; the plug-in's type knows nodemailer's own fields only.
    const { dialogue } = mail.data as unknown as TrackedMail;
    mail.message.processFunc((stream) => stream.once('end', () => (dialogue.handedOver = true)));
    next();
  });
  return transport;
}

function poolOptions(options: SmtpOptions): SMTPPoolOptions & { pool: true } {
  const secure = options.secure ?? false;
  const ignoreTLS = options.ignoreTls ?? false;
  const connectionTimeout = options.connectionTimeoutMs ?? 10_000;
  const socketTimeout = options.socketTimeoutMs ?? 30_000;
  const { username, password, tls } = options;
  const auth = username ? { auth: { user: username, pass: password ?? '' } } : {};
  return {
    pool: true,
    host: options.host,
    port: options.port ?? 587,
    secure,
    ignoreTLS,
    requireTLS: (options.requireTls ?? false) || (Boolean(username) && !secure && !ignoreTLS),
    ...auth,
    tls: {
      rejectUnauthorized: true,
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls?.servername === undefined ? {} : { servername: tls.servername }),
    },
    connectionTimeout,
    dnsTimeout: connectionTimeout,
    greetingTimeout: options.greetingTimeoutMs ?? 10_000,
    socketTimeout,
    // Says goodbye before the silence of an idle connection is taken for a dead one.
    idleTimeout: socketTimeout / 2,
    // The dialogue is over by then, and a server that keeps its half open must not keep ours.
    socketCloseTimeout: 0,
    maxConnections: options.maxConnections ?? 5,
    maxMessages: 10_000,
    // Not a retry: a pooled connection that the server closed meanwhile, before a byte of the message, is replaced once.
    maxRequeues: 1,
  };
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

function unusableAddress(message: EmailMessage, from: EmailAddress): SendResult | undefined {
  const told = { code: 'address_invalid', detail: 'not an address that mail can be sent to' };
  if (!isUsableAddress(message.to)) return { outcome: 'invalid_recipient', ...told };
  const others = [from, ...message.cc, ...message.bcc, ...(message.replyTo === undefined ? [] : [message.replyTo])];
  if (others.every(({ email }) => isUsableAddress(email))) return undefined;
  return {
    outcome: 'permanent_failure',
    ...told,
    detail: 'sender, reply-to or a copy has an address that cannot be used',
  };
}

function asMailError(thrown: unknown): NodemailerError {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
