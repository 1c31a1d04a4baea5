/** The pool of connections that nodemailer keeps, and what it is told. */
import type {
  createTransport,
  SendMailOptions,
  SMTPPoolOptions,
  SMTPPoolSentMessageInfo,
  Transporter,
} from 'nodemailer';
import type { SmtpSettings } from './smtp-settings.ts';

/** How far the dialogue of one message has come. */
export interface Dialogue {
  /** The whole message was given to the connection, so the dot that ends it may have reached the server. */
  handedOver: boolean;
}

export type TrackedMail = SendMailOptions & { readonly dialogue: Dialogue };

type Pool = Transporter<SMTPPoolSentMessageInfo, SMTPPoolOptions>;

/**
 * What a DKIM signature covers: the fields of RFC 6376 §5.4.1 that a mail of ours can have, and both of those that
 * one-click unsubscribing needs signed (RFC 8058 §4), of which nodemailer by itself leaves out List-Unsubscribe-Post.
 */
const SIGNED_HEADERS = [
  'From',
  'Reply-To',
  'Subject',
  'Date',
  'Message-ID',
  'To',
  'Cc',
  'MIME-Version',
  'Content-Type',
  'Content-Transfer-Encoding',
  'In-Reply-To',
  'References',
  'List-Id',
  'List-Help',
  'List-Unsubscribe',
  'List-Unsubscribe-Post',
  'List-Subscribe',
  'List-Post',
  'List-Owner',
  'List-Archive',
].join(':');

export function openTransport(create: typeof createTransport, settings: SmtpSettings): Pool {
  const transport: Pool = create(poolOptions(settings));
  transport.use('stream', (mail, next) => {
    // Every message of this transport is a TrackedMail; the plug-in's type knows nodemailer's own fields only.
    const { dialogue } = mail.data as unknown as TrackedMail;
    const { message } = mail;
    const read = message.createReadStream.bind(message);
    // The connection begins to read the message only after the server's 354, and ends it with the dot only after it has
    // read the last byte. So from the end of the very stream it reads on the server may have the whole message; before, it
    // cannot. A DKIM signature is made in streams before that one, which may end earlier.
    message.createReadStream = (options) => read(options).once('end', () => (dialogue.handedOver = true));
    next();
  });
  return transport;
}

function poolOptions(settings: SmtpSettings): SMTPPoolOptions & { pool: true } {
  const { host, port, secure, requireTls, ignoreTls, username, password, connectionTimeout, socketTimeout } = settings;
  return {
    pool: true,
    host,
    port,
    secure,
    ignoreTLS: ignoreTls,
    // Credentials never travel in the clear unless that was asked for.
    requireTLS: requireTls || (username !== undefined && !secure && !ignoreTls),
    // A relay that offers no login is not used without one: it would refuse the recipients, as if they were at fault.
    ...(username === undefined ? {} : { auth: { user: username, pass: password ?? '' }, forceAuth: true }),
    tls: tlsOf(settings),
    ...dkimOf(settings),
    connectionTimeout,
    dnsTimeout: connectionTimeout,
    greetingTimeout: settings.greetingTimeout,
    socketTimeout,
    // Says goodbye before the silence of an idle connection is taken for a dead one.
    idleTimeout: socketTimeout / 2,
    // The dialogue is over by then, and a server that keeps its half open must not keep ours.
    socketCloseTimeout: 0,
    maxConnections: settings.maxConnections,
    maxMessages: 10_000,
    // Not a retry: a pooled connection that the server closed meanwhile, before a byte of the message, is replaced once.
    maxRequeues: 1,
  };
}

function tlsOf({ caFile, tlsServerName }: SmtpSettings): NonNullable<SMTPPoolOptions['tls']> {
  return {
    rejectUnauthorized: true,
    ...(caFile === undefined ? {} : { ca: caFile }),
    ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
  };
}

function dkimOf({ dkimDomain, dkimSelector, dkimKeyFile }: SmtpSettings): Pick<SMTPPoolOptions, 'dkim'> {
  if (dkimDomain === undefined || dkimSelector === undefined || dkimKeyFile === undefined) return {};
  return {
    dkim: {
      domainName: dkimDomain,
      keySelector: dkimSelector,
      privateKey: dkimKeyFile,
      headerFieldNames: SIGNED_HEADERS,
    },
  };
}
