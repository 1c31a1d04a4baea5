import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { loadConfig } from '../src/config.ts';

interface Compose {
  readonly services: Readonly<Record<string, { readonly environment?: Readonly<Record<string, string>> }>>;
}

describe('examples/compose.yaml', () => {
  it('gives Carillon a configuration that starts as a cluster', () => {
    const text = readFileSync(join(import.meta.dirname, '..', 'examples', 'compose.yaml'), 'utf8');
    // Its shape is what this test is about.
    const { services } = parse(text, { merge: true }) as Compose;
    const environments = Object.entries(services).flatMap(([name, { environment }]) =>
      name.startsWith('carillon') ? [environment ?? {}] : [],
    );
    expect(environments).to.not.be.empty;
    for (const environment of environments) {
      expect(loadConfig({}, environment, import.meta.dirname).backend.kind).to.equal('cluster');
    }
  });
});
