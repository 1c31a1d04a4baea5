/**
 * What the mails of a brand have in common: `_designs/<name>/` holds design.toml (colours, logo), layout.html.hbs around
 * everything, and header.html.hbs and footer.html.hbs where there are some.
 */
import type { TemplateEngine } from './template-engine.ts';
import type { Faults } from './template-faults.ts';
import { parseSettings } from './template-folder.ts';
import type { Folder } from './template-folder.ts';
import { rootScope } from './template-scope.ts';
import type { RenderState } from './template-state.ts';

type Variables = Readonly<Record<string, unknown>>;

export interface Design {
  readonly folder: Folder;
  /** Puts the body into the design; `variables` are the globals, `locale` and `subject`. */
  wrap(body: string, variables: Variables, state: RenderState): string;
}

const COLORS = ['primary', 'secondary', 'accent', 'text', 'background'];
/** Colours go into style attributes, where anything else could do more than colour. */
const COLOR = /^#(?:[0-9a-f]{3}|[0-9a-f]{6})$/i;
const FILES = ['design.toml', 'layout.html.hbs', 'header.html.hbs', 'footer.html.hbs'];
/** Where the layout takes in the header and the footer. */
const SLOT = /\{\{\{(header|footer)\}\}\}/g;

const STRING = { type: 'string' };
const PROPERTIES = {
  locale: STRING,
  subject: STRING,
  brand: { properties: Object.fromEntries([...COLORS, 'logo_url'].map((name) => [name, STRING])) },
};
const SCOPE = rootScope({ properties: PROPERTIES });
const LAYOUT_SCOPE = rootScope({ properties: { ...PROPERTIES, body: STRING } });

function readBrand(folder: Folder, faults: Faults): Variables {
  const keys = COLORS.map((name) => `colors.${name}`);
  const settings = parseSettings(folder, 'design.toml', { needed: keys, optional: ['logo_url'] }, faults);
  const brand: Record<string, string> = {};
  for (const [key, value] of settings) {
    if (key.startsWith('colors.') && !COLOR.test(value)) {
      faults.add(`${folder.path}/design.toml`, `${key} must be a colour such as #1a2b3c`);
    }
    brand[key.replace('colors.', '')] = value;
  }
  return brand;
}

/** Undefined when something is wrong with it, which `faults` then tells. */
export function loadDesign(folder: Folder, engine: TemplateEngine, faults: Faults): Design | undefined {
  const before = faults.list.length;
  for (const file of folder.files.keys()) {
    if (!FILES.includes(file)) faults.add(`${folder.path}/${file}`, 'is not a file of a design');
  }
  const brand = readBrand(folder, faults);
  const slots = new Map<string, string>();
  for (const name of ['header', 'footer']) {
    const source = `${folder.path}/${name}.html.hbs`;
    const text = folder.files.get(`${name}.html.hbs`) ?? '';
    if (faults.attempt(source, () => engine.compile(text, { source, scope: SCOPE, escaping: 'html' })))
      slots.set(name, text);
  }
  const source = `${folder.path}/layout.html.hbs`;
  if (!folder.files.has('layout.html.hbs')) faults.add(source, 'is missing');
  // Each was checked by itself; as one they render in half the time.
  const text = (folder.files.get('layout.html.hbs') ?? '').replaceAll(SLOT, (_, name: string) => slots.get(name) ?? '');
  const layout = faults.attempt(source, () =>
    engine.compile(text, { source, scope: LAYOUT_SCOPE, escaping: 'html', trusted: ['body'] }),
  );
  if (!layout || faults.list.length > before) return undefined;
  return { folder, wrap: (body, variables, state) => layout({ ...variables, brand, body }, state) };
}
