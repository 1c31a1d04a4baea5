/**
 * The templates: a folder for each, with
 *
 *   template.toml            description; locale, the one to fall back to (default en); design (default none)
 *   schema.json              JSON Schema (draft 2020-12) of the data
 *   sample.json              data as an example; every part is rendered with it before the template counts as loaded
 *   <channel>.<locale>.<part>.hbs   such as email.pt-BR.subject.hbs; the parts are subject, title, html and text
 *
 * A template names values of its data, `recipient`, `store_name`, `store_url` and `year`. What a recipient may lack, such
 * as a name, is written `{{default recipient.first_name "there"}}` or stands inside `{{#if recipient.first_name}}`.
 * A value is never markup: it is escaped in HTML and for Slack. The template itself may hold any.
 */
import type { JsonObject } from '../domain/notification.ts';
import { checkJson } from './render-content.ts';
import { RenderError } from './render-error.ts';
import { loadDesign } from './template-design.ts';
import type { Design } from './template-design.ts';
import { TemplateEngine } from './template-engine.ts';
import type { Escaping } from './template-engine.ts';
import { Faults, TemplatesError } from './template-faults.ts';
import { CHANNEL_PARTS, parsePartFile, parseSettings, readTree, versionOf } from './template-folder.ts';
import type { Folder, PartFile, PartName, TemplateChannel } from './template-folder.ts';
import { SchemaCompiler } from './template-schema.ts';
import { isObject, rootScope } from './template-scope.ts';
import { watchFolder } from './template-watch.ts';
import { createTemplate } from './template.ts';
import type { Template, Variant } from './template.ts';

export interface Templates extends AsyncDisposable {
  /** The one whose locale fits best: `pt-BR`, then `pt`, then the template's own default. */
  find(id: string, channel: TemplateChannel, locale: string): Template | undefined;
  /** All of them, by id, channel and locale. */
  list(): readonly Template[];
}

export interface LoadOptions {
  /** Reads the folder again when something in it changes. Not given: it is read once. */
  readonly watch?: {
    /** The templates were read again and are in use now. */
    onReload?(): void;
    /** They cannot be used (TemplatesError) or read; the last good ones stay in use. */
    onFault(thrown: unknown): void;
  };
}

const SETTINGS = { needed: ['description'], optional: ['locale', 'design'] };
const SETTING_FILES = ['template.toml', 'schema.json', 'sample.json'];

const lookupKey = (id: string, channel: TemplateChannel, locale: string): string =>
  `${id}/${channel}/${locale.toLowerCase()}`;

/** With everything that a recipient can have and with nothing, as a template has to do for both. */
function renderSample(template: Template, path: string, faults: Faults): void {
  const place = {
    locale: template.locale,
    timeZone: 'UTC',
    storeName: 'Sample Store',
    storeUrl: 'https://store.example',
  };
  const known = { id: '1', email: 'sam@store.example', phone: '+15550100', firstName: 'Sam', lastName: 'Sample' };
  for (const recipient of [known, {}]) {
    try {
      template.render({ ...place, data: template.sample, recipient, now: 0 });
    } catch (thrown) {
      if (!(thrown instanceof RenderError)) throw thrown;
      const who = recipient === known ? 'a recipient with a name' : 'a recipient of whom nothing is known';
      faults.add(thrown.source ?? path, `sample.json for ${who}: ${thrown.problem}`);
      return;
    }
  }
}

function readJson(folder: Folder, file: string, faults: Faults): JsonObject | undefined {
  const path = `${folder.path}/${file}`;
  const text = folder.files.get(file);
  if (text === undefined) {
    faults.add(path, 'is missing');
    return undefined;
  }
  return faults.attempt(path, () => {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) throw new Error('must be an object');
    // What JSON.parse makes of an object is a JsonObject.
    return value as JsonObject;
  });
}

/** Groups the part files by channel and locale and compiles each. */
function readVariants(folder: Folder, schema: JsonObject, engine: TemplateEngine, faults: Faults): Variant[] {
  const variants = new Map<string, Variant>();
  for (const [name, text] of folder.files) {
    if (SETTING_FILES.includes(name)) continue;
    const path = `${folder.path}/${name}`;
    const file = parsePartFile(name);
    const fault = file ? partFault(file) : 'is not a file of a template; parts are named such as email.en.html.hbs';
    if (!file || fault !== undefined) {
      faults.add(path, fault ?? '');
      continue;
    }
    const { channel, locale, part } = file;
    const key = lookupKey(folder.name, channel, locale);
    const variant = variants.get(key) ?? { folder, channel, locale, parts: {} };
    variants.set(key, variant);
    const compiled = faults.attempt(path, () =>
      engine.compile(text, { source: path, scope: rootScope(schema), escaping: escapingOf(file) }),
    );
    if (compiled) variant.parts[part] = compiled;
  }
  return [...variants.values()];
}

function escapingOf({ channel, part }: PartFile): Escaping {
  if (part === 'html') return 'html';
  return channel === 'slack' ? 'slack' : 'none';
}

function partFault({ channel, locale, part }: PartFile): string | undefined {
  const { allowed } = CHANNEL_PARTS[channel];
  if (!allowed.includes(part)) return `${channel} has no part ${part}, only ${allowed.join(', ')}`;
  try {
    const [canonical] = Intl.getCanonicalLocales(locale);
    return canonical === locale ? undefined : `the locale is written ${canonical}`;
  } catch {
    return `${locale} is not a locale`;
  }
}

function checkVariants(folder: Folder, variants: readonly Variant[], locale: string, faults: Faults): void {
  if (variants.length === 0) faults.add(folder.path, 'has no parts');
  for (const channel of new Set(variants.map((variant) => variant.channel))) {
    const fallback = variants.some((other) => other.channel === channel && other.locale === locale);
    if (!fallback) faults.add(folder.path, `${channel} has nothing in ${locale}, its locale to fall back to`);
  }
  for (const variant of variants) {
    const name = `${variant.channel}.${variant.locale}`;
    const has = (part: PartName): boolean => folder.files.has(`${name}.${part}.hbs`);
    for (const part of CHANNEL_PARTS[variant.channel].needed) {
      if (!has(part)) faults.add(`${folder.path}/${name}.${part}.hbs`, 'is missing');
    }
    if (variant.channel === 'email' && !has('html') && !has('text')) {
      faults.add(`${folder.path}/${name}.html.hbs`, 'is missing, and so is the text');
    }
  }
}

interface Loaded {
  readonly byKey: ReadonlyMap<string, Template>;
  /** The locale to fall back to, by id. */
  readonly fallbacks: ReadonlyMap<string, string>;
}

interface Tools {
  readonly engine: TemplateEngine;
  readonly schemas: SchemaCompiler;
  readonly designs: ReadonlyMap<string, Design | undefined>;
}

/** The template's variants, and the locale to fall back to. */
function loadTemplate(folder: Folder, { engine, schemas, designs }: Tools, faults: Faults): [Template[], string] {
  const before = faults.list.length;
  const settings = parseSettings(folder, 'template.toml', SETTINGS, faults);
  const locale = settings.get('locale') ?? 'en';
  const schema = readJson(folder, 'schema.json', faults);
  const sample = readJson(folder, 'sample.json', faults);
  const check = schema && faults.attempt(`${folder.path}/schema.json`, () => schemas.compile(schema));
  const variants = readVariants(folder, schema ?? {}, engine, faults);
  checkVariants(folder, variants, locale, faults);
  const designName = settings.get('design');
  const design = designName === undefined ? undefined : designs.get(designName);
  if (designName !== undefined && !designs.has(designName)) {
    faults.add(`${folder.path}/template.toml`, `there is no design ${designName}`);
  }
  for (const { field, description } of (sample && [
    ...checkJson('notification.data', sample),
    ...(check?.(sample) ?? []),
  ]) ??
    []) {
    faults.add(`${folder.path}/sample.json`, `${field} ${description}`);
  }
  if (!schema || !sample || !check || faults.list.length > before) return [[], locale];
  const version = versionOf(design ? [folder, design.folder] : [folder]);
  const description = settings.get('description') ?? '';
  const shared = { version, description, schema, sample, check, design, engine };
  const templates = variants.map((variant) => createTemplate(variant, shared));
  for (const template of templates) renderSample(template, folder.path, faults);
  return [templates, locale];
}

async function loadAll(directory: string): Promise<Loaded> {
  const faults = new Faults();
  const tree = await readTree(directory, faults);
  const engine = new TemplateEngine();
  const designs = new Map(tree.designs.map((folder) => [folder.name, loadDesign(folder, engine, faults)]));
  const tools = { engine, schemas: new SchemaCompiler(), designs };
  const byKey = new Map<string, Template>();
  const fallbacks = new Map<string, string>();
  for (const folder of tree.templates) {
    const [templates, locale] = loadTemplate(folder, tools, faults);
    fallbacks.set(folder.name, locale);
    for (const template of templates) byKey.set(lookupKey(template.id, template.channel, template.locale), template);
  }
  if (faults.list.length > 0) throw new TemplatesError(faults.list);
  return { byKey, fallbacks };
}

function find(
  { byKey, fallbacks }: Loaded,
  id: string,
  channel: TemplateChannel,
  locale: string,
): Template | undefined {
  for (let tag = locale; tag !== ''; tag = tag.slice(0, Math.max(0, tag.lastIndexOf('-')))) {
    const found = byKey.get(lookupKey(id, channel, tag));
    if (found) return found;
  }
  return byKey.get(lookupKey(id, channel, fallbacks.get(id) ?? ''));
}

/**
 * Reads and checks every template of a folder.
 * @throws TemplatesError when anything is wrong with it, and what the file system throws when it cannot be read.
 */
export async function loadTemplates(directory: string, { watch }: LoadOptions = {}): Promise<Templates> {
  let loaded = await loadAll(directory);
  const reload = async (): Promise<void> => {
    loaded = await loadAll(directory);
    watch?.onReload?.();
  };
  const watcher = watch && watchFolder(directory, reload, (thrown) => watch.onFault(thrown));
  return {
    find: (id, channel, locale) => find(loaded, id, channel, locale),
    list: () => [...loaded.byKey.values()],
    async [Symbol.asyncDispose]() {
      await watcher?.[Symbol.asyncDispose]();
    },
  };
}
