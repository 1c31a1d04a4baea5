import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { CONFIG_DOCS, renderConfigDocs } from '../scripts/config-docs.ts';
import { defaultSchema } from '../src/config.ts';
import { withProviders } from '../src/config/providers.ts';
import { parseSchema } from '../src/config/schema.ts';
import { defineProvider } from '../src/providers/definition.ts';
import { neededText, seconds } from '../src/providers/settings.ts';
import { http } from '../src/providers/webhook/http.ts';

describe('docs/config.md', () => {
  it('is what the default file and the providers say', () => {
    expect(readFileSync(CONFIG_DOCS, 'utf8')).to.equal(renderConfigDocs(defaultSchema()));
  });

  it('has the section of a provider behind its channel, with its settings and its place in the list', () => {
    const fake = defineProvider({
      name: 'carrier_pigeon',
      channels: ['sms'],
      doc: 'Slow.',
      settings: {
        homeLoft: neededText('Where it returns to.', { secret: true }),
        flight: seconds('How long it may fly.', 60, [1, 90]),
      },
      open: () => {
        throw new Error('is never opened here');
      },
    });
    const schema = parseSchema('[notifications.sms]\n\nproviders = []\n\n[notifications.push]\n\nproviders = []\n');
    const docs = renderConfigDocs(withProviders(schema, [fake]));
    const heads = docs.split('\n').filter((line) => line.startsWith('## '));
    const section = 'notifications.sms.carrier_pigeon';
    expect(heads).to.deep.equal(['## `[notifications.sms]`', `## \`[${section}]\``, '## `[notifications.push]`']);
    const rows = docs.split('\n').filter((line) => line.includes('CARILLON_NOTIFICATIONS_SMS_CARRIER_PIGEON_'));
    expect(rows.map((row) => row.split('`')[1])).to.deep.equal([
      'home_loft',
      'flight_seconds',
      'weight',
      'max_per_minute',
      'burst',
      'max_per_day',
    ]);
    expect(rows[0]).to.include('Needed').and.include('Secret');
    expect(rows[1]).to.include('`60`').and.include('1 to 90').and.include('fraction');
    expect(docs.split('\n').find((line) => line.includes('SMS_PROVIDERS'))).to.include('`carrier_pigeon`');
    expect(docs.split('\n').find((line) => line.includes('PUSH_PROVIDERS'))).to.not.include('carrier_pigeon');
  });

  it('has what a provider adds to the section of its channel there, behind its keys', () => {
    const schema = parseSchema('[notifications.webhooks]\n\nproviders = []\n');
    const { sections, keys } = withProviders(schema, [http]);
    expect(sections).to.have.length(1);
    expect([...keys.keys()].slice(0, 2)).to.deep.equal([
      'notifications.webhooks.providers',
      'notifications.webhooks.timeout_seconds',
    ]);
  });

  it('shows defaults, rules and variables of a key', () => {
    const docs = renderConfigDocs(parseSchema('[a]\n\n# Why.\n# @range 1..3\n# @fraction\nkey_seconds = 2\n'));
    const row = docs.split('\n').find((line) => line.startsWith('| `key_seconds`'));
    expect(row).to.include('`2`').and.include('Why.').and.include('1 to 3').and.include('`CARILLON_A_KEY_SECONDS`');
  });
});
