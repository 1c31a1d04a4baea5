import { expect } from 'chai';
import { happenedAt } from '../../src/providers/callback.ts';

describe('when the event of a callback happened', () => {
  const NOW = Date.parse('2026-11-22T12:00:00Z');
  for (const [what, told, expected] of [
    ['as it is told', NOW - 5_000, NOW - 5_000],
    ['to the millisecond', NOW - 5_000.4, NOW - 5_000],
    ['as it is told by a clock that is ahead', NOW + 60_000, NOW + 60_000],
    ['now where nothing is told', undefined, NOW],
    ['now where it is no time', Number.NaN, NOW],
    ['now where it is told in another unit', NOW * 1_000, NOW],
    ['now where it is without end', Infinity, NOW],
    ['now where it is before 1970', -1, NOW],
    ['now where it is told in seconds', NOW / 1_000, NOW],
  ] as const) {
    it(`is ${what}`, () => {
      expect(happenedAt(told, NOW)).to.equal(expected);
    });
  }
});
