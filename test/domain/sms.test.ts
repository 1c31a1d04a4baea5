import { expect } from 'chai';
import fc from 'fast-check';
import { SegmentedMessage } from 'sms-segments-calculator';
import type { SmsType } from '../../src/domain/notification.ts';
import { MAX_SMS_CHARS, smsSize } from '../../src/domain/sms.ts';

type Size = readonly [type: SmsType, characters: number, segments: number];

function sizeOf(body: string, type: SmsType | 'auto' = 'auto'): Size {
  const size = smsSize(body, type);
  if ('fault' in size) throw new Error(size.fault);
  return [size.type, size.characters, size.segments];
}

const isRefused = (body: string, type: SmsType | 'auto'): boolean => 'fault' in smsSize(body, type);

/** By their code points, so that the test does not repeat how the alphabet is written: TS 23.038, 6.2.1, row by row. */
const BASIC = [
  [0x40, 0xa3, 0x24, 0xa5, 0xe8, 0xe9, 0xf9, 0xec, 0xf2, 0xc7, 0x0a, 0xd8, 0xf8, 0x0d, 0xc5, 0xe5],
  [0x394, 0x5f, 0x3a6, 0x393, 0x39b, 0x3a9, 0x3a0, 0x3a8, 0x3a3, 0x398, 0x39e, 0xc6, 0xe6, 0xdf, 0xc9],
  [0x20, 0x21, 0x22, 0x23, 0xa4, ...Array.from({ length: 0x1b }, (_, i) => 0x25 + i)],
  [0xa1, ...Array.from({ length: 26 }, (_, i) => 0x41 + i), 0xc4, 0xd6, 0xd1, 0xdc, 0xa7],
  [0xbf, ...Array.from({ length: 26 }, (_, i) => 0x61 + i), 0xe4, 0xf6, 0xf1, 0xfc, 0xe0],
].flat();
const EXTENSION = [0x0c, 0x5e, 0x7b, 0x7d, 0x5c, 0x5b, 0x7e, 0x5d, 0x7c, 0x20ac];

describe('the size of a text message', () => {
  it('is one septet for each character of the basic alphabet and two for each of the extension', () => {
    expect(BASIC).to.have.length(127);
    for (const code of BASIC) {
      const character = String.fromCodePoint(code);
      expect(sizeOf(character.repeat(160)), character).to.deep.equal(['text', 160, 1]);
      expect(sizeOf(character.repeat(161)), character).to.deep.equal(['text', 161, 2]);
    }
    for (const code of EXTENSION) {
      const character = String.fromCodePoint(code);
      expect(sizeOf(character.repeat(80)), character).to.deep.equal(['text', 80, 1]);
      expect(sizeOf(character.repeat(81)), character).to.deep.equal(['text', 81, 2]);
    }
  });

  it('is in UCS-2 for every other character of the Basic Multilingual Plane', () => {
    const gsm = new Set([...BASIC, ...EXTENSION]);
    for (let code = 0; code <= 0xffff; code += 1) {
      const [type] = sizeOf(String.fromCodePoint(code));
      if ((type === 'text') !== gsm.has(code)) expect.fail(`U+${code.toString(16)} is ${type}`);
    }
  });

  const cases: readonly [string, string, Size][] = [
    ['160 septets fit into one segment', 'a'.repeat(160), ['text', 160, 1]],
    ['161 need two', 'a'.repeat(161), ['text', 161, 2]],
    ['306 fit into two of 153', 'a'.repeat(306), ['text', 306, 2]],
    ['307 need three', 'a'.repeat(307), ['text', 307, 3]],
    ['an extension as the last of 160 septets', `${'a'.repeat(158)}€`, ['text', 159, 1]],
    ['an extension over the 160th', `${'a'.repeat(159)}€`, ['text', 160, 2]],
    ['an escape pair is not split at 153', `${'a'.repeat(152)}€${'a'.repeat(152)}`, ['text', 305, 3]],
    ['one that ends with the segment costs nothing', `${'a'.repeat(151)}€${'a'.repeat(153)}`, ['text', 305, 2]],
    ['70 code units fit into one segment', 'ж'.repeat(70), ['unicode', 70, 1]],
    ['71 need two', 'ж'.repeat(71), ['unicode', 71, 2]],
    ['134 fit into two of 67', 'ж'.repeat(134), ['unicode', 134, 2]],
    ['135 need three', 'ж'.repeat(135), ['unicode', 135, 3]],
    ['35 emoji fit into one', '🔔'.repeat(35), ['unicode', 35, 1]],
    ['a surrogate pair is not split at 67', `${'ж'.repeat(66)}🔔${'ж'.repeat(66)}`, ['unicode', 133, 3]],
    ['one that ends with the segment costs nothing', `${'ж'.repeat(65)}🔔${'ж'.repeat(67)}`, ['unicode', 133, 2]],
    ['one character makes the whole UCS-2', `${'a'.repeat(70)}ç`, ['unicode', 71, 2]],
    ['an extension costs one code unit in UCS-2', `${'€'.repeat(69)}ç`, ['unicode', 70, 1]],
  ];
  for (const [what, body, size] of cases) {
    it(`auto: ${what}`, () => {
      expect(sizeOf(body)).to.deep.equal(size);
    });
  }

  it('is in UCS-2 when that was asked for, whatever the characters', () => {
    expect(sizeOf('a'.repeat(71), 'unicode')).to.deep.equal(['unicode', 71, 2]);
  });

  it('is in GSM-7 when that was asked for, and names the first character that is not in it', () => {
    expect(sizeOf('a€', 'text')).to.deep.equal(['text', 2, 1]);
    expect(smsSize('a€ça🔔', 'text')).to.have.property('fault').that.includes('U+00E7');
    expect(smsSize('a🔔ç', 'text')).to.have.property('fault').that.includes('U+1F514');
  });

  it('counts the bytes of a binary one: 140 in one segment, 134 in each of several', () => {
    expect(sizeOf('00'.repeat(140), 'binary')).to.deep.equal(['binary', 140, 1]);
    expect(sizeOf('fF'.repeat(141), 'binary')).to.deep.equal(['binary', 141, 2]);
    expect(sizeOf('a0'.repeat(268), 'binary')).to.deep.equal(['binary', 268, 2]);
    expect(sizeOf('a0'.repeat(269), 'binary')).to.deep.equal(['binary', 269, 3]);
  });

  it('takes only whole bytes in hex as binary', () => {
    for (const body of ['', '0', '0g', '00 00', '000', '0x00', '00\n']) {
      expect(isRefused(body, 'binary'), body).to.equal(true);
    }
  });

  it('has a limit of 1,600 characters, which are code points, and of as many hex digits', () => {
    expect(MAX_SMS_CHARS).to.equal(1_600);
    expect(sizeOf('🔔'.repeat(1_600))).to.deep.equal(['unicode', 1_600, 49]);
    expect(sizeOf('00'.repeat(800), 'binary')).to.deep.equal(['binary', 800, 6]);
    for (const type of ['auto', 'text', 'unicode', 'binary'] as const) {
      expect(isRefused('0'.repeat(1_602), type), type).to.equal(true);
      expect(isRefused('0'.repeat(100_000), type), type).to.equal(true);
    }
    expect(isRefused('🔔'.repeat(1_601), 'auto')).to.equal(true);
    expect(isRefused(`${'🔔'.repeat(1_600)}a`, 'auto')).to.equal(true);
    expect(isRefused('a'.repeat(1_601), 'auto')).to.equal(true);
  });

  // The library keeps what people see as one character in one segment; these characters are each one by themselves.
  const gsm = fc.constantFrom(...[...BASIC, ...EXTENSION].filter((code) => code !== 0x0d));
  const others = fc.constantFrom(0xe7, 0x436, 0x4e2d, 0x2014, 0x1f514, 0x1f600, 0x20000);
  const bodies = (code: fc.Arbitrary<number>): fc.Arbitrary<string> =>
    fc.array(code, { minLength: 1, maxLength: 700, size: 'max' }).map((codes) => String.fromCodePoint(...codes));

  const kinds = { 'GSM-7 only': gsm, 'GSM-7 and others': fc.oneof(gsm, others), 'no GSM-7': others };
  for (const [what, code] of Object.entries(kinds)) {
    it(`agrees with sms-segments-calculator: ${what}`, () => {
      fc.assert(
        fc.property(bodies(code), (body) => {
          const { encodingName, segmentsCount, numberOfUnicodeScalars } = new SegmentedMessage(body, 'auto', false);
          const type = encodingName === 'GSM-7' ? 'text' : 'unicode';
          expect(sizeOf(body)).to.deep.equal([type, numberOfUnicodeScalars, segmentsCount]);
        }),
        { numRuns: 150 },
      );
    });
  }
});
