import { expect } from 'chai';
import fc from 'fast-check';
import { validate, version } from 'uuid';
import { firstIdAt, providerKey, systemRandom } from '../../src/domain/id.ts';
import { SAMPLE_TIME } from '../support/sample.ts';

describe('ids', () => {
  it('are UUIDv7 that sort by the time they were made', () => {
    fc.assert(
      fc.property(fc.nat(1e12), fc.integer({ min: 1, max: 1e9 }), (before, later) => {
        const [a, b] = [systemRandom.id(before), systemRandom.id(before + later)];
        expect([version(a), version(b)]).to.deep.equal([7, 7]);
        expect(a < b).to.equal(true);
      }),
    );
  });

  it('of a millisecond lie between its first id and that of the next one', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 45), (at) => {
        const id = systemRandom.id(at);
        expect(firstIdAt(at) <= id && id < firstIdAt(at + 1)).to.equal(true);
        expect(validate(firstIdAt(at))).to.equal(true);
      }),
    );
  });

  it('turn any time into a lowest id', () => {
    expect(firstIdAt(-5)).to.equal(firstIdAt(0));
    expect(firstIdAt(SAMPLE_TIME + 0.9)).to.equal(firstIdAt(SAMPLE_TIME));
  });

  it('give a provider one UUIDv5 per notification, run and target', () => {
    const id = systemRandom.id(SAMPLE_TIME);
    const key = providerKey(id, 1, 0);
    expect(version(key)).to.equal(5);
    expect(providerKey(id, 1, 0)).to.equal(key);
    const others = [providerKey(id, 2, 0), providerKey(id, 1, 1), providerKey(systemRandom.id(SAMPLE_TIME), 1, 0)];
    expect(new Set([key, ...others]).size).to.equal(4);
  });

  it('name leases by UUIDv4 and draw fractions from 0 to below 1', () => {
    expect(version(systemRandom.lease())).to.equal(4);
    for (let i = 0; i < 100; i++) expect(systemRandom.fraction()).to.be.within(0, 1 - Number.EPSILON);
  });
});
