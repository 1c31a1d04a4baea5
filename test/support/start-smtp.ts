import { buffer } from 'node:stream/consumers';
import PostalMime, { type Email } from 'postal-mime';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { listen } from './listen.ts';

/** A negative answer, such as `{ code: 550, text: '5.1.1 no such user' }`. */
export interface Refusal {
  readonly code: number;
  readonly text: string;
}

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  readonly secure: boolean;
  readonly user: string | undefined;
  readonly raw: string;
  readonly parsed: Email;
}

export interface SmtpServerSettings {
  /** PEM; STARTTLS is offered when they are given. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** TLS from the first byte. */
  readonly secure?: boolean;
  /** Asks for this login, over TLS only. */
  readonly login?: { readonly username: string; readonly password: string };
  readonly onConnect?: () => Refusal | undefined;
  readonly onMailFrom?: (address: string) => Refusal | undefined;
  readonly onRcptTo?: (address: string) => Refusal | undefined;
  /** Asked when the whole message is there; a refused one is not kept. */
  readonly onData?: (mail: ReceivedMail) => Refusal | undefined;
}

export interface StartedSmtp extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly mails: readonly ReceivedMail[];
  /** Connections that were ever made. */
  readonly connections: number;
}

/** A real SMTP server on a free port that keeps what it takes. */
export async function startSmtp(settings: SmtpServerSettings = {}): Promise<StartedSmtp> {
  const mails: ReceivedMail[] = [];
  let connections = 0;
  const server = new SMTPServer({
    ...transportOptions(settings),
    onConnect(_session, callback) {
      connections += 1;
      callback(refusal(settings.onConnect?.()));
    },
    onAuth(auth, _session, callback) {
      const { login } = settings;
      const good = auth.username === login?.username && auth.password === login?.password;
      if (good) callback(null, { user: auth.username });
      else callback(refusal({ code: 535, text: '5.7.8 bad credentials' }));
    },
    onMailFrom(address, _session, callback) {
      callback(refusal(settings.onMailFrom?.(address.address)));
    },
    onRcptTo(address, _session, callback) {
      callback(refusal(settings.onRcptTo?.(address.address)));
    },
    onData(stream, session, callback) {
      const keep = async (): Promise<void> => {
        const bytes = await buffer(stream);
        const { mailFrom, rcptTo } = session.envelope;
        const mail: ReceivedMail = {
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map((one) => one.address),
          secure: session.secure,
          user: typeof session.user === 'string' ? session.user : undefined,
          raw: bytes.toString('utf8'),
          parsed: await PostalMime.parse(bytes),
        };
        const refused = settings.onData?.(mail);
        if (refused === undefined) mails.push(mail);
        callback(refusal(refused));
      };
      keep().catch(callback);
    },
  });
  // Clients of these tests break off on purpose.
  server.on('error', () => {});
  const port = await listen(server.server);
  return {
    host: '127.0.0.1',
    port,
    mails,
    get connections() {
      return connections;
    },
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function transportOptions({ tls, secure, login }: SmtpServerSettings): SMTPServerOptions {
  const disabled = [...(tls === undefined ? ['STARTTLS'] : []), ...(login === undefined ? ['AUTH'] : [])];
  return {
    ...(tls === undefined ? {} : tls),
    secure: secure ?? false,
    authOptional: login === undefined,
    disabledCommands: disabled,
    disableReverseLookup: true,
    logger: false,
    // Open connections are cut at once when the server is closed.
    closeTimeout: 1,
  };
}

function refusal(refused: Refusal | undefined): Error | null {
  return refused === undefined ? null : Object.assign(new Error(refused.text), { responseCode: refused.code });
}
