/**
 * Keeps calls to addresses that a caller chose away from everything that is not the public Internet (server-side request
 * forgery): the machine itself, its networks, and the metadata services of clouds.
 *
 * A name is resolved once, for the connection, and the connection goes to the very addresses that were checked, so a name
 * that answers differently a moment later gains nothing.
 */
import { lookup as systemLookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { invalidField } from '../errors.ts';

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Range = [Address, number];

/** All that ever was assigned for use on the public Internet (IANA, RFC 4291 §2.4). */
const GLOBAL_IPV6: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];

/** Azure's metadata and host services answer on an address out of a public range. The other clouds use link-local ones. */
const AZURE_HOST = ipaddr.IPv4.parse('168.63.129.16');

export class AddressRefused extends Error {
  override readonly name = 'AddressRefused';
  readonly code = 'address_refused';
}

export type Resolve = (
  hostname: string,
  options: LookupOptions & { readonly all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export interface AddressGuard {
  /** @throws AddressRefused for another scheme than http and https, for credentials, and for a literal address not allowed. */
  check(url: URL): void;
  /** To be given to `net.connect`: resolves the name and fails with AddressRefused unless every address is allowed. */
  readonly lookup: LookupFunction;
}

/**
 * @param allowPrivate host names, addresses and ranges (CIDR) that may be called although they are not public
 * @throws CarillonError INVALID_FIELD for a range that cannot be read
 */
export function createAddressGuard(allowPrivate: readonly string[], resolve: Resolve = systemLookup): AddressGuard {
  const hosts = new Set<string>();
  const ranges: Range[] = [];
  for (const entry of allowPrivate) {
    const range = rangeOf(entry);
    if (range === undefined) hosts.add(hostName(entry));
    else ranges.push(range);
  }
  const allows = (address: string): boolean =>
    isPublicAddress(address) || ranges.some((range) => inRange(address, range));

  return {
    check(url) {
      if (url.protocol !== 'http:' && url.protocol !== 'https:')
        throw new AddressRefused('only http and https are called');
      if (url.username !== '' || url.password !== '')
        throw new AddressRefused('credentials in the URL are not accepted');
      // The URL's parser has already turned every odd notation (octal, hexadecimal, one number) into the usual one.
      const host = url.hostname.replace(/^\[|\]$/g, '');
      if (isIP(host) === 0 || hosts.has(host) || allows(host)) return;
      throw new AddressRefused('the address is not a public one');
    },
    lookup(hostname, options, callback) {
      resolve(hostname, { ...options, all: true }, (error, addresses) => {
        if (error) return callback(error, '', 0);
        const [first] = addresses;
        // One address that is not allowed spoils all: public names that also answer with private ones are an attack.
        if (first === undefined || !(hosts.has(hostName(hostname)) || addresses.every((one) => allows(one.address)))) {
          return callback(new AddressRefused('the name leads to an address that is not public'), '', 0);
        }
        if (options.all) callback(null, addresses);
        else callback(null, first.address, first.family);
      });
    },
  };
}

/** False for private, loopback, link-local, shared, reserved, multicast and translated (NAT64, 6to4, mapped) addresses. */
export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  const address = ipaddr.parse(text);
  if (address.range() !== 'unicast') return false;
  return address instanceof ipaddr.IPv6 ? address.match(GLOBAL_IPV6) : !address.match(AZURE_HOST, 32);
}

function inRange(text: string, [base, bits]: Range): boolean {
  if (!ipaddr.isValid(text)) return false;
  // An IPv4 address in IPv6's clothes leads to the IPv4 one.
  const address = ipaddr.process(text);
  return address.kind() === base.kind() && address.match(base, bits);
}

function rangeOf(entry: string): Range | undefined {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
  if (isIP(entry) !== 0) {
    const address = ipaddr.process(entry);
    return [address, address.kind() === 'ipv4' ? 32 : 128];
  }
  if (entry.includes('/')) throw invalidField('allow_private', `'${entry}' is not a range such as 10.1.0.0/16`);
  return undefined;
}

/** The dot of the DNS root changes the text and not the host. */
function hostName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
