import { expect } from 'chai';
import fc from 'fast-check';
import { decodeToken, encodeToken } from '../../src/domain/token.ts';

describe('watch token', () => {
  it('gives back the feed and position that it was made of', () => {
    const feeds = fc.string({ minLength: 1, unit: 'grapheme' });
    fc.assert(
      fc.property(feeds, fc.nat({ max: 999_999_999_999_999 }), (feed, seq) => {
        expect(decodeToken(encodeToken({ feed, seq }))).to.deep.equal({ feed, seq });
      }),
    );
  });

  it('can stand in a URL as it is', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.nat(), (feed, seq) => {
        expect(encodeToken({ feed, seq })).to.match(/^[\w-]+$/);
      }),
    );
  });

  it('answers nothing for what it cannot have made, and never throws', () => {
    for (const text of ['', 'x', '.', '1.', '.feed', '-1.feed', '1e3.feed', `${'9'.repeat(16)}.feed`]) {
      expect(decodeToken(Buffer.from(text).toString('base64url')), text).to.equal(undefined);
    }
    fc.assert(
      fc.property(fc.string(), (text) => {
        const position = decodeToken(text);
        if (position) expect(Number.isSafeInteger(position.seq)).to.equal(true);
      }),
    );
  });
});
