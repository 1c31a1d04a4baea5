import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ERROR_REASONS } from '../../src/errors.ts';

/** The rows of the tables of docs/errors.md: reason, status, meaning, advice. */
function documented(): readonly (readonly string[])[] {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'errors.md'), 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const bare = (cell: string | undefined): string => (cell ?? '').replaceAll('`', '');

describe('docs/errors.md', () => {
  it('explains every reason once, and none that does not exist', () => {
    expect(documented().map(([reason]) => bare(reason))).to.have.members(Object.keys(ERROR_REASONS));
  });

  it('names the status that each reason is answered with', () => {
    const statuses = documented().map(([reason, status]) => [bare(reason), bare(status)]);
    expect(Object.fromEntries(statuses)).to.deep.equal(ERROR_REASONS);
  });

  it('says of each what it means and what to do', () => {
    const silent = documented().filter((cells) => cells.length !== 4 || cells.some((cell) => cell === ''));
    expect(silent).to.deep.equal([]);
  });
});
