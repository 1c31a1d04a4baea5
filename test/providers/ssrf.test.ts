import type { LookupAddress } from 'node:dns';
import { isIPv6 } from 'node:net';
import { expect } from 'chai';
import { CarillonError } from '../../src/errors.ts';
import {
  AddressRefused,
  createAddressGuard,
  isPublicAddress,
  type AddressGuard,
  type Resolve,
} from '../../src/providers/ssrf.ts';

/** Names that lead to these addresses, and how often they were asked for. */
class Names {
  asked = 0;
  readonly #addresses: readonly string[];

  constructor(addresses: readonly string[]) {
    this.#addresses = addresses;
  }

  readonly resolve: Resolve = (_hostname, _options, callback) => {
    this.asked += 1;
    callback(
      null,
      this.#addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 })),
    );
  };
}

function look(guard: AddressGuard, hostname: string, all: boolean): Promise<string | LookupAddress[]> {
  return new Promise((resolve, reject) => {
    guard.lookup(hostname, { all }, (error, addresses) => (error ? reject(error) : resolve(addresses)));
  });
}

describe('an address is public', () => {
  const cases: Readonly<Record<string, boolean>> = {
    '93.184.215.14': true,
    '2606:4700:4700::1111': true,
    '10.0.0.1': false,
    '172.16.0.1': false,
    '192.168.1.1': false,
    '127.0.0.1': false,
    '127.255.255.254': false,
    '0.0.0.0': false,
    '169.254.169.254': false,
    '100.64.0.1': false,
    '100.100.100.200': false,
    '192.0.0.192': false,
    '192.0.2.1': false,
    '198.18.0.1': false,
    '224.0.0.1': false,
    '240.0.0.1': false,
    '255.255.255.255': false,
    '168.63.129.16': false,
    '::': false,
    '::1': false,
    'fe80::1': false,
    'fec0::1': false,
    'fc00::1': false,
    'fd00:ec2::254': false,
    'ff02::1': false,
    '::ffff:93.184.215.14': false,
    '::ffff:10.0.0.1': false,
    '::127.0.0.1': false,
    '64:ff9b::a00:1': false,
    '64:ff9b:1::a00:1': false,
    '2002:a00:1::': false,
    '2001:0:a00:1::1': false,
    '2001:db8::1': false,
    '4000::1': false,
    'no address': false,
  };
  for (const [address, expected] of Object.entries(cases)) {
    it(`${address}: ${expected}`, () => {
      expect(isPublicAddress(address)).to.equal(expected);
    });
  }
});

describe('the address guard', () => {
  it('hands on the very addresses that it checked, from one look at the name', async () => {
    const names = new Names(['93.184.215.14', '2606:4700:4700::1111']);
    const guard = createAddressGuard([], names.resolve);
    expect(await look(guard, 'example.com', true)).to.have.length(2);
    expect(names.asked).to.equal(1);
    expect(await look(guard, 'example.com', false)).to.equal('93.184.215.14');
  });

  for (const addresses of [['10.0.0.1'], ['93.184.215.14', '10.0.0.1'], []]) {
    it(`refuses a name that leads to ${addresses.join(' and ') || 'nothing'}`, async () => {
      const guard = createAddressGuard([], new Names(addresses).resolve);
      const thrown: unknown = await look(guard, 'example.com', true).catch((error: unknown) => error);
      expect(thrown).to.be.instanceOf(AddressRefused);
    });
  }

  it('allows what a range names, and nothing beside it', async () => {
    const guard = createAddressGuard(['10.1.0.0/16', 'fd00::/8'], new Names(['10.1.2.3', 'fd00::1']).resolve);
    expect(await look(guard, 'inside.test', true)).to.have.length(2);
    expect(() => guard.check(new URL('http://10.1.9.9/'))).not.to.throw();
    expect(() => guard.check(new URL('http://10.2.0.1/'))).to.throw(AddressRefused);
  });

  it('allows a host by name whatever it leads to, and no other', async () => {
    const guard = createAddressGuard(['hooks.internal'], new Names(['10.0.0.1']).resolve);
    expect(await look(guard, 'Hooks.Internal.', false)).to.equal('10.0.0.1');
    const thrown: unknown = await look(guard, 'x.hooks.internal', false).catch((error: unknown) => error);
    expect(thrown).to.be.instanceOf(AddressRefused);
  });

  it('hands on the failure of the resolver', async () => {
    const failure = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
    const guard = createAddressGuard([], (_hostname, _options, callback) => callback(failure, []));
    const thrown: unknown = await look(guard, 'example.com', true).catch((error: unknown) => error);
    expect(thrown).to.equal(failure);
  });

  for (const entry of ['10.0.0.0/99', 'example.com/24']) {
    it(`does not start with a range that cannot be read: ${entry}`, () => {
      expect(() => createAddressGuard([entry])).to.throw(CarillonError);
    });
  }
});
