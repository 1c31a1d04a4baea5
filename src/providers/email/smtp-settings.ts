/** What an SMTP relay is configured with. */
import type { Senders } from '../definition.ts';
import { isRsaKey, privateKeyOf } from '../private-key.ts';
import { flag, neededText, seconds, text, whole, type SettingsOf } from '../settings.ts';
import { SENDER_SETTINGS, senderFaults } from './message.ts';

export const SMTP_SETTINGS = {
  host: neededText("The relay's name."),
  port: whole('587 for submission, 465 with secure = true.', 587, [1, 65_535]),
  secure: flag('TLS from the first byte. Otherwise STARTTLS is used where the server offers it.', false),
  requireTls: flag('Refuse a server that does not offer STARTTLS. With a password that is always so.', false),
  ignoreTls: flag('Never STARTTLS, and a password in the clear: only for a relay on the same machine.', false),
  tlsServerName: text('The name on its certificate. Empty: host.'),
  caFile: text('Authorities, PEM, to check its certificate against. Empty: those of the system.', { format: 'file' }),
  username: text('Empty: no authentication.'),
  password: text('Needed with username.', { secret: true }),
  ...SENDER_SETTINGS,
  maxConnections: whole('Connections kept open at the same time.', 5, [1, 1_000]),
  connectionTimeout: seconds('Until the connection stands, TLS included.', 10, [0.1, 300]),
  greetingTimeout: seconds('Until the server greets.', 10, [0.1, 300]),
  socketTimeout: seconds('Silence after which a connection counts as dead.', 30, [0.1, 600]),
  dkimDomain: text('Sign every message by DKIM for this domain. Empty: no signature, as where the relay signs.'),
  dkimSelector: text('The name of the DKIM key: its public half is at <dkim_selector>._domainkey.<dkim_domain>.'),
  dkimKeyFile: text('The private DKIM key: RSA, PEM, at least 1024 bits.', { format: 'file', secret: true }),
};

export type SmtpSettings = SettingsOf<typeof SMTP_SETTINGS>;

/** Bits (RFC 8301 §3.2). Signatures are RSA: nodemailer makes no others, and leaves out the one it cannot make. */
const SHORTEST_DKIM_KEY = 1_024;

/** What cannot work, one sentence each; `section` is the path of its keys. */
export function smtpFaults(section: string, settings: SmtpSettings, senders: Senders): string[] {
  const { username, password, secure, requireTls, ignoreTls, dkimDomain, dkimSelector, dkimKeyFile } = settings;
  const dkim = [dkimDomain, dkimSelector, dkimKeyFile].filter((one) => one !== undefined);
  return [
    ...senderFaults(section, settings, senders),
    ...((username === undefined) === (password === undefined)
      ? []
      : [`${section}.username and ${section}.password must be given together`]),
    ...(ignoreTls && (secure || requireTls) ? [`${section}.ignore_tls excludes secure and require_tls`] : []),
    ...(dkim.length === 1 || dkim.length === 2
      ? [`${section}.dkim_domain, dkim_selector and dkim_key_file must be given together`]
      : []),
    ...(dkimKeyFile === undefined || isRsaKey(privateKeyOf(dkimKeyFile), SHORTEST_DKIM_KEY)
      ? []
      : [
          `${section}.dkim_key_file must hold an RSA key of at least ${SHORTEST_DKIM_KEY} bits, PEM, without a passphrase`,
        ]),
  ];
}
