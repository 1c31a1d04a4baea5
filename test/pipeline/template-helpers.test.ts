import { expect } from 'chai';

import { RenderError } from '../../src/pipeline/render-error.ts';
import { renderNote, thrownBy } from './template-fixture.ts';

const GERMAN = { recipient: { locale: 'de-DE', timeZone: 'Europe/Berlin' } };

describe('template helpers', () => {
  it('currency writes an amount in the recipient locale, dollars unless a currency is named', async () => {
    const sample = { total: 1234.5, code: 'EUR' };
    const source = '{{currency total}}|{{currency total "JPY"}}|{{currency total currency=code}}';
    expect(await renderNote(source, { sample })).to.equal('$1,234.50|¥1,235|€1,234.50');
    expect(await renderNote('{{currency total currency=code}}', { sample, ...GERMAN })).to.equal('1.234,50\u00a0€');
  });

  it('currency writes an amount given as text without loss', async () => {
    const sample = { total: '90071992547409931.01' };
    expect(await renderNote('{{currency total}}', { sample })).to.equal('$90,071,992,547,409,931.01');
  });

  it('number writes whole, decimal and percent values in the recipient locale', async () => {
    const sample = { count: 12345, share: 0.256 };
    const source =
      '{{number count}}|{{number share style="percent" maximum_fraction_digits=1}}|{{number 2 minimum_fraction_digits=2}}';
    expect(await renderNote(source, { sample, ...GERMAN })).to.equal('12.345|25,6\u00a0%|2,00');
  });

  it('date_format writes a time in the recipient time zone, or in one that is named', async () => {
    const sample = { at: '2026-11-22T23:30:00Z' };
    const source = '{{date_format at style="long" time="short"}}|{{date_format at style="long" time_zone="UTC"}}';
    expect(await renderNote(source, { sample, ...GERMAN })).to.equal('23. November 2026 um 00:30|22. November 2026');
  });

  it('date_format takes milliseconds, styles and components', async () => {
    const sample = { at: 0 };
    const source = '{{date_format at}}|{{date_format at style="short"}}|{{date_format at weekday="long"}}';
    expect(await renderNote(source, { sample })).to.equal('Jan 1, 1970|1/1/70|Thursday');
  });

  it('date_format leaves a day of the calendar the same day in every time zone', async () => {
    const recipient = { timeZone: 'America/Los_Angeles' };
    const written = await renderNote('{{date_format day style="long"}}', { sample: { day: '2026-12-24' }, recipient });
    expect(written).to.equal('December 24, 2026');
  });

  it('plural picks the word by the rules of the template language, not of the recipient', async () => {
    const sample = { list: [0, 1, 2, 5] };
    const source = '{{#each list}}{{this}} {{plural this one="item" other="items"}};{{/each}}';
    const recipient = { locale: 'pl' };
    expect(await renderNote(source, { sample, recipient })).to.equal('0 items;1 item;2 items;5 items;');
  });

  it('uppercase, lowercase and default change or replace a value', async () => {
    const source =
      '{{uppercase name}} {{lowercase name}} {{default nick "none"}} {{default empty "none"}} {{default name "none"}}';
    expect(await renderNote(source, { sample: { name: 'Ada', empty: '' } })).to.equal('ADA ada none none Ada');
  });

  it('conditions compare, combine and take what is absent for false', async () => {
    const sample = { a: 1, b: 2, name: 'x', none: [] };
    const cases = {
      '(eq name "x")': 'yes',
      '(eq a b)': 'no',
      '(gt b a)': 'yes',
      '(lt b a)': 'no',
      '(and a (not none))': 'yes',
      '(or absent none)': 'no',
      'absent.further.down': 'no',
    };
    for (const [condition, answer] of Object.entries(cases)) {
      const source = `{{#if ${condition}}}yes{{else}}no{{/if}}`;
      expect(await renderNote(source, { sample }), condition).to.equal(answer);
    }
    expect(await renderNote('{{#unless a}}1{{else if b}}2{{/unless}}', { sample })).to.equal('2');
  });

  it('each and with open lists and objects', async () => {
    const sample = { list: [{ n: 1 }, { n: 2 }], map: { k: 'v' }, none: [], name: 'x' };
    const source = [
      '{{#each list as |item index|}}{{index}}{{item.n}}{{@first}}{{@last}}{{../name}}{{@root.name}} {{/each}}',
      '{{#each map}}{{@key}}={{this}}{{/each}}',
      '{{#each none}}{{else}}empty{{/each}}',
      '{{#with map as |m|}}{{k}}{{m.k}}{{/with}}{{#with absent}}{{else}}nothing{{/with}}',
    ].join('|');
    expect(await renderNote(source, { sample })).to.equal('01truefalsexx 12falsetruexx |k=v|empty|vvnothing');
  });

  for (const [call, what] of Object.entries({
    '{{currency absent}}': 'an amount that is absent',
    '{{currency name}}': 'an amount that is no number',
    '{{currency 1 "dollars"}}': 'a currency that is none',
    '{{currency 1 currency=absent}}': 'a currency that is absent',
    '{{currency 1 2 3}}': 'too many values',
    '{{currency}}': 'no value',
    '{{currency 1 code="USD"}}': 'an option that is not known',
    '{{number 1 style="unit"}}': 'a style that is not offered',
    '{{number 1 minimum_fraction_digits=200}}': 'a number of digits that is out of range',
    '{{date_format name}}': 'a date that is none',
    '{{date_format "2026-11-22T10:00:00"}}': 'a time without a time zone',
    '{{date_format 0 style="huge"}}': 'a style of date that is none',
    '{{date_format 0 time_zone="Mars/Base"}}': 'a time zone that is none',
    '{{date_format "2026-11-22" time="short"}}': 'the time of a day of the calendar',
    '{{plural 2 one="item"}}': 'a plural without the word for it',
    '{{gt name 1}}': 'a comparison of a text with a number',
    '{{uppercase 1}}': 'letters of a number',
    '{{#each name}}{{/each}}': 'a loop over a text',
    '{{#each absent}}{{/each}}': 'a loop over what is absent',
  })) {
    it(`refuse ${what}: ${call}`, async () => {
      const sample = { name: 'Ada', on: true };
      const thrown = await thrownBy(() =>
        renderNote(`x{{#if on}}${call}{{/if}}`, { sample: { ...sample, on: false }, data: sample }),
      );
      expect(thrown).to.be.instanceOf(RenderError);
    });
  }
});
