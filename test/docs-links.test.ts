import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';

const ROOT = join(import.meta.dirname, '..');
const PAGES = globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT });

interface Link {
  /** From the root; the page itself where the link names no file. */
  readonly file: string;
  /** Behind the `#`; empty when there is none. */
  readonly anchor: string;
}

function linksOf(page: string): readonly Link[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = '', anchor = ''] = target.split('#');
      return { file: path === '' ? page : join(dirname(page), path), anchor };
    });
}

/** As GitHub makes them of headings. */
function anchorsOf(page: string): readonly string[] {
  const headings = readFileSync(join(ROOT, page), 'utf8').matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

const told = ({ file, anchor }: Link): string => `${file}#${anchor}`;

describe('the pages', () => {
  for (const page of PAGES) {
    it(`${page} links only to files that exist`, () => {
      const broken = linksOf(page).filter(({ file }) => !existsSync(join(ROOT, file)));
      expect(broken.map(told)).to.deep.equal([]);
    });

    it(`${page} links only to headings that exist`, () => {
      const broken = linksOf(page).filter(
        ({ file, anchor }) => anchor !== '' && file.endsWith('.md') && !anchorsOf(file).includes(anchor),
      );
      expect(broken.map(told)).to.deep.equal([]);
    });
  }
});
