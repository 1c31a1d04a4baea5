import { NODATA, Resolver, SERVFAIL } from 'node:dns/promises';
import { expect } from 'chai';
import { domainOf, mailDomain, type MailDomain } from '../../src/verify/email.ts';
import { eventually } from '../support/eventually.ts';
import { startDns, type DnsReaction, type StartedDns } from '../support/start-dns.ts';

describe('the form of an e-mail address', () => {
  const local = (length: number): string => 'a'.repeat(length);
  /** A domain of so many characters, 135 to 194. */
  const domain = (length: number): string => [63, 63, length - 131].map((n) => 'd'.repeat(n)).join('.') + '.io';

  const taken: Readonly<Record<string, string>> = {
    'ana@example.com': 'example.com',
    'Ana@Example.COM': 'example.com',
    'ana.souza+orders@mail.example.co.uk': 'mail.example.co.uk',
    "o'brien_{x}|~!#$%&*/=?^`-@example.com": 'example.com',
    'a@b.io': 'b.io',
    'ana@bücher.example': 'xn--bcher-kva.example',
    'ana@xn--bcher-kva.example': 'xn--bcher-kva.example',
    'ana@3com.com': '3com.com',
    [`${local(64)}@example.com`]: 'example.com',
    [`${local(64)}@${domain(189)}`]: domain(189),
  };
  for (const [address, inAscii] of Object.entries(taken)) {
    it(`takes ${address.slice(0, 70)}`, () => {
      expect(domainOf(address)).to.equal(inAscii);
    });
  }

  const refused: Readonly<Record<string, string>> = {
    'nothing before the @': '@example.com',
    'nothing behind the @': 'ana@',
    'no @': 'example.com',
    'two @': 'ana@home@example.com',
    'a dot first': '.ana@example.com',
    'a dot last': 'ana.@example.com',
    'two dots in a row': 'ana..souza@example.com',
    'a space': 'ana souza@example.com',
    'a line break': 'ana@example.com\r\nBcc: eve@example.com',
    'a line break at the end': 'ana@example.com\n',
    'a display name': 'Ana <ana@example.com>',
    'a quoted local part': '"ana souza"@example.com',
    'a local part beyond ASCII': 'josé@example.com',
    'a domain of one label': 'ana@localhost',
    'an IP address': 'ana@127.0.0.1',
    'an IP address in hex': 'ana@0x7f.1',
    'a domain literal': 'ana@[127.0.0.1]',
    'a domain with an escaped letter': 'ana@%65xample.com',
    'a label that begins with a hyphen': 'ana@-example.com',
    'a label that ends with a hyphen': 'ana@example-.com',
    'a label with an underscore': 'ana@my_host.example.com',
    'an empty label': 'ana@example..com',
    'a dot behind the domain': 'ana@example.com.',
    'a broken A-label': 'ana@xn--iñvalid.example',
    'a label of 64': `ana@${'d'.repeat(64)}.com`,
    'a local part of 65': `${local(65)}@example.com`,
    'an address of 255': `${local(64)}@${domain(190)}`,
  };
  for (const [what, address] of Object.entries(refused)) {
    it(`refuses ${what}`, () => {
      expect(domainOf(address)).to.equal(undefined);
    });
  }
});

describe('whether a domain takes mail', () => {
  const never = new AbortController().signal;
  const resolverFor =
    ({ address }: StartedDns) =>
    (): Resolver => {
      const resolver = new Resolver({ timeout: 2_000, tries: 1 });
      resolver.setServers([address]);
      return resolver;
    };

  interface Asked extends MailDomain {
    readonly questions: readonly string[];
  }

  async function ask(reaction: DnsReaction, limit?: number): Promise<Asked> {
    await using dns = await startDns({ 'example.com': reaction });
    const options = { openResolver: resolverFor(dns), ...(limit === undefined ? {} : { limit }) };
    return { ...(await mailDomain('example.com', options, never)), questions: dns.questions };
  }

  it('is said by its mail servers, the preferred one first', async () => {
    const mx = [
      { priority: 300, exchange: 'last.example.com' },
      { priority: 5, exchange: 'first.example.com' },
      { priority: 10, exchange: 'second.example.com' },
    ];
    expect(await ask({ mx })).to.deep.include({
      verdict: 'valid',
      hosts: ['first.example.com', 'second.example.com', 'last.example.com'],
      questions: ['MX example.com'],
    });
  });

  it('is denied by a null MX, even where the domain has an address', async () => {
    const mx = [{ priority: 0, exchange: '' }];
    expect(await ask({ mx, a: ['192.0.2.1'] })).to.deep.include({ verdict: 'no_mail', hosts: [] });
  });

  it('is not denied by a null MX beside a server', async () => {
    const mx = [
      { priority: 0, exchange: '' },
      { priority: 10, exchange: 'mx.example.com' },
    ];
    expect(await ask({ mx })).to.deep.include({ verdict: 'valid', hosts: ['mx.example.com'] });
  });

  it('follows from an address of its own where it has no MX: of IPv4', async () => {
    const itself = { verdict: 'valid', hosts: ['example.com'] };
    expect(await ask({ a: ['192.0.2.1'] })).to.deep.include(itself);
  });

  it('follows from an address of its own where it has no MX: of IPv6', async () => {
    const itself = { verdict: 'valid', hosts: ['example.com'] };
    expect(await ask({ aaaa: [`20010db8${'0'.repeat(23)}1`] })).to.deep.include(itself);
  });

  it('is denied where it has neither mail server nor address', async () => {
    const { questions, ...found } = await ask({});
    expect(found).to.deep.equal({ verdict: 'no_mail', hosts: [] });
    expect(questions).to.have.members(['MX example.com', 'A example.com', 'AAAA example.com']);
  });

  it('is denied where there is no such domain, without a further question', async () => {
    expect(await ask('no such name')).to.deep.include({
      verdict: 'no_domain',
      hosts: [],
      questions: ['MX example.com'],
    });
  });

  it('is unknown when the DNS fails', async () => {
    expect(await ask('server failure')).to.deep.include({ verdict: 'unknown', hosts: [] });
  });

  it('is unknown when the DNS says nothing within the limit', async () => {
    const found = await ask('silence', 50);
    expect(found).to.deep.include({ verdict: 'unknown', hosts: [] });
  });

  it('is unknown when no server can be reached', async () => {
    const dns = await startDns({});
    await dns[Symbol.asyncDispose]();
    const { verdict } = await mailDomain('example.com', { openResolver: resolverFor(dns) }, never);
    expect(verdict).to.equal('unknown');
  });

  /** The DNS has no records; `thrown` is what the question for IPv4 ends with. */
  async function askBroken(thrown: unknown): Promise<MailDomain> {
    const empty = async (): Promise<never> => {
      throw Object.assign(new Error('no records'), { code: NODATA, syscall: 'query' });
    };
    const broken = async (): Promise<never> => {
      throw thrown;
    };
    const resolver = { resolveMx: empty, resolve4: broken, resolve6: empty, cancel: () => {} };
    return await mailDomain('example.com', { openResolver: () => resolver }, never);
  }

  it('is unknown when the question for one kind of address fails and there is none of the other', async () => {
    const failure = Object.assign(new Error('failed'), { code: SERVFAIL, syscall: 'queryA' });
    expect(await askBroken(failure)).to.deep.equal({ verdict: 'unknown', hosts: [] });
  });

  it('is not said to be unknown when the fault is not the DNS’s', async () => {
    const bug = new TypeError('a bug');
    expect(await askBroken(bug).catch((thrown: unknown) => thrown)).to.equal(bug);
  });

  it('is no longer asked about once the caller has gone', async () => {
    await using dns = await startDns({ 'example.com': 'silence' });
    const caller = new AbortController();
    const gone = new Error('gone');
    const asked = mailDomain('example.com', { openResolver: resolverFor(dns) }, caller.signal);
    const ended = asked.catch((thrown: unknown) => thrown);
    await eventually('the question', () => dns.questions.length === 1);
    caller.abort(gone);
    expect(await ended).to.equal(gone);
  });
});
