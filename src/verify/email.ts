/** Whether mail can be sent to an address, as far as that can be known without sending some. */
import { NODATA, NOTFOUND, type Resolver } from 'node:dns/promises';
import { domainToASCII } from 'node:url';
import { SECOND } from '../domain/clock.ts';

export const EMAIL_VERDICTS = ['valid', 'syntax', 'no_domain', 'no_mail', 'unknown'] as const;
/**
 * `syntax`: not an address. `no_domain`: the domain does not exist. `no_mail`: it takes none (RFC 7505), or has neither a mail
 * server nor an address. `unknown`: the DNS did not answer.
 */
export type EmailVerdict = (typeof EMAIL_VERDICTS)[number];

/** RFC 5321 §4.5.3.1, octets; the whole is what fits between the angle brackets of a path. */
const MAX_LOCAL = 64;
const MAX_ADDRESS = 254;

/**
 * RFC 5321 §4.1.2, Dot-string. Quoted local parts and those with letters beyond ASCII (RFC 6531) are left out: few providers
 * and mail programs take them, and a recipient's address may be neither.
 */
const LOCAL = /^[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*$/;
/** RFC 1035 §2.3.1 with RFC 1123 §2.1. */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** The domain of a well-formed address, in ASCII and lower case; undefined for what is none. */
export function domainOf(address: string): string | undefined {
  const at = address.lastIndexOf('@');
  const local = address.slice(0, Math.max(at, 0));
  if (local.length > MAX_LOCAL || !LOCAL.test(local)) return undefined;
  const written = address.slice(at + 1);
  // As a URL's host, much more would become a domain: with %41, with full-width dots, with an address in hex.
  const domain = /^[\p{L}\p{M}\p{N}.-]+$/u.test(written) ? domainToASCII(written) : '';
  if (!isMailDomain(domain) || local.length + 1 + domain.length > MAX_ADDRESS) return undefined;
  return domain;
}

/** Names of one label reach nobody outside, and a last label of digits only would be an IP address. */
function isMailDomain(domain: string): boolean {
  const labels = domain.split('.');
  return labels.length > 1 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '');
}

export interface MailDomain {
  readonly verdict: Exclude<EmailVerdict, 'syntax'>;
  /** Its mail servers, the preferred one first. */
  readonly hosts: readonly string[];
}

/** What is asked of the DNS, in the terms of `node:dns/promises`. */
export type MailResolver = Pick<Resolver, 'resolveMx' | 'resolve4' | 'resolve6' | 'cancel'>;

export interface DnsOptions {
  /** A new one for each check: ending a check ends all that its resolver was asked. */
  readonly openResolver: () => MailResolver;
  /** For all questions together, milliseconds. Default: 5 s. */
  readonly limit?: number;
}

const DEFAULT_LIMIT = 5 * SECOND;

/** Asks the DNS whether a domain takes mail. @throws the signal's reason once it is aborted */
export async function mailDomain(
  domain: string,
  { openResolver, limit = DEFAULT_LIMIT }: DnsOptions,
  signal: AbortSignal,
): Promise<MailDomain> {
  const resolver = openResolver();
  const ended = AbortSignal.any([signal, AbortSignal.timeout(limit)]);
  const cancel = (): void => resolver.cancel();
  ended.addEventListener('abort', cancel);
  try {
    const found = await ask(domain, resolver, ended);
    signal.throwIfAborted();
    return found;
  } finally {
    ended.removeEventListener('abort', cancel);
  }
}

async function ask(domain: string, resolver: MailResolver, ended: AbortSignal): Promise<MailDomain> {
  const servers = await answerOf(() => resolver.resolveMx(domain), ended);
  if (typeof servers === 'string') {
    return servers === 'empty' ? await implicitServer(domain, resolver, ended) : none(servers);
  }
  // RFC 7505: one of no name says that the domain takes no mail.
  const named = servers.filter(({ exchange }) => exchange !== '').toSorted((a, b) => a.priority - b.priority);
  return named.length === 0 ? none('empty') : { verdict: 'valid', hosts: named.map(({ exchange }) => exchange) };
}

/** RFC 5321 §5.1: a domain without MX records is its own mail server, if it has an address. */
async function implicitServer(domain: string, resolver: MailResolver, ended: AbortSignal): Promise<MailDomain> {
  const answers = await Promise.all([
    answerOf(() => resolver.resolve4(domain), ended),
    answerOf(() => resolver.resolve6(domain), ended),
  ]);
  if (answers.some((answer) => typeof answer !== 'string')) return { verdict: 'valid', hosts: [domain] };
  return none(answers.includes('silent') ? 'silent' : 'empty');
}

/** Why there are no records: no such name, none of this kind, or no answer that could be used. */
type Absence = 'no name' | 'empty' | 'silent';

const none = (absence: Absence): MailDomain => ({
  verdict: ({ 'no name': 'no_domain', empty: 'no_mail', silent: 'unknown' } as const)[absence],
  hosts: [],
});

async function answerOf<T>(question: () => Promise<readonly T[]>, ended: AbortSignal): Promise<readonly T[] | Absence> {
  // Cancelling ends what was asked before; a question put after it would run its own time.
  if (ended.aborted) return 'silent';
  try {
    const records = await question();
    return records.length === 0 ? 'empty' : records;
  } catch (thrown) {
    // What the DNS answered names the system call; all else is a fault of ours.
    if (!(thrown instanceof Error && 'syscall' in thrown && 'code' in thrown)) throw thrown;
    if (thrown.code === NOTFOUND) return 'no name';
    return thrown.code === NODATA ? 'empty' : 'silent';
  }
}
