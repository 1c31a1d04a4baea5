import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { CONFIG_DOCS, renderConfigDocs } from '../scripts/config-docs.ts';
import { defaultSchema } from '../src/config.ts';
import { parseSchema } from '../src/config/schema.ts';

describe('docs/config.md', () => {
  it('is what the default file says', () => {
    expect(readFileSync(CONFIG_DOCS, 'utf8')).to.equal(renderConfigDocs(defaultSchema()));
  });

  it('shows defaults, rules and variables of a key', () => {
    const docs = renderConfigDocs(parseSchema('[a]\n\n# Why.\n# @range 1..3\n# @fraction\nkey_seconds = 2\n'));
    const row = docs.split('\n').find((line) => line.startsWith('| `key_seconds`'));
    expect(row).to.include('`2`').and.include('Why.').and.include('1 to 3').and.include('`CARILLON_A_KEY_SECONDS`');
  });
});
