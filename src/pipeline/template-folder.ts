/** Reads the folder of the templates: which files there are, what they are called and what the settings among them say. */
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { parse } from 'smol-toml';

import type { Channel } from '../domain/notification.ts';
import type { Faults } from './template-faults.ts';

/** A webhook carries data, not words: it has no templates. */
export type TemplateChannel = Exclude<Channel, 'webhook'>;
export type PartName = 'subject' | 'title' | 'html' | 'text';

/** The parts a channel's template may have; those in `needed` it must have. */
export const CHANNEL_PARTS: Readonly<
  Record<TemplateChannel, { readonly needed: readonly PartName[]; readonly allowed: readonly PartName[] }>
> = {
  email: { needed: ['subject'], allowed: ['subject', 'html', 'text'] },
  sms: { needed: ['text'], allowed: ['text'] },
  push: { needed: ['title', 'text'], allowed: ['title', 'text'] },
  in_app: { needed: ['text'], allowed: ['title', 'text'] },
  slack: { needed: ['text'], allowed: ['text'] },
  discord: { needed: ['text'], allowed: ['text'] },
};

/** The folder, beside those of the templates, that holds a folder for each design. */
const DESIGNS = '_designs';
/** Size of one file. */
export const MAX_FILE_BYTES = 262_144;

const TEMPLATE_NAME = /^[a-z][a-z0-9_.-]{0,63}$/;
const PART_FILE =
  /^(email|sms|push|in_app|slack|discord)\.([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)\.(subject|title|html|text)\.hbs$/;
/** Left behind by editors and file managers. */
const IGNORED = /^\.|~$/;

/** The files of one template or design, by name. */
export interface Folder {
  /** Inside the folder of the templates. */
  readonly path: string;
  readonly name: string;
  readonly files: ReadonlyMap<string, string>;
}

export interface PartFile {
  readonly file: string;
  readonly channel: TemplateChannel;
  readonly locale: string;
  readonly part: PartName;
}

export interface TemplateTree {
  readonly templates: readonly Folder[];
  readonly designs: readonly Folder[];
}

interface Entry {
  readonly name: string;
  readonly isFolder: boolean;
  readonly size: number;
}

/** In order of name. Links are followed, as mounted configuration often consists of them. */
async function listEntries(folder: string): Promise<Entry[]> {
  const names = (await readdir(folder)).filter((name) => !IGNORED.test(name)).toSorted();
  return Promise.all(
    names.map(async (name) => {
      const facts = await stat(join(folder, name));
      return { name, isFolder: facts.isDirectory(), size: facts.size };
    }),
  );
}

async function rootEntries(root: string, faults: Faults): Promise<Entry[]> {
  try {
    return await listEntries(root);
  } catch (thrown) {
    const code: unknown = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
    if (typeof code !== 'string') throw thrown;
    faults.add(root, `cannot be read (${code}); templates.directory says where the templates are`);
    return [];
  }
}

async function readFolder(root: string, path: string, faults: Faults): Promise<Folder> {
  const files = new Map<string, string>();
  for (const { name, isFolder, size } of await listEntries(join(root, path))) {
    const file = `${path}/${name}`;
    if (isFolder) {
      faults.add(file, 'only files belong here');
    } else if (size > MAX_FILE_BYTES) {
      faults.add(file, `has more than ${MAX_FILE_BYTES} bytes`);
    } else {
      const bytes = await readFile(join(root, file));
      const text = faults.attempt(file, () => new TextDecoder('utf-8', { fatal: true }).decode(bytes));
      if (text !== undefined) files.set(name, text);
    }
  }
  return { path, name: path.slice(path.lastIndexOf('/') + 1), files };
}

export async function readTree(root: string, faults: Faults): Promise<TemplateTree> {
  const templates: Folder[] = [];
  const designs: Folder[] = [];
  for (const { name, isFolder } of await rootEntries(root, faults)) {
    if (isFolder && name === DESIGNS) {
      for (const design of await listEntries(join(root, DESIGNS))) {
        const path = `${DESIGNS}/${design.name}`;
        if (design.isFolder) designs.push(await readFolder(root, path, faults));
        else faults.add(path, 'only folders of designs belong here');
      }
    } else if (isFolder && TEMPLATE_NAME.test(name)) {
      templates.push(await readFolder(root, name, faults));
    } else {
      faults.add(name, 'only folders of templates, named such as order_confirmation, belong here');
    }
  }
  return { templates, designs };
}

/** `email.pt-BR.html.hbs`: what its name says, or undefined when it says nothing. */
export function parsePartFile(file: string): PartFile | undefined {
  const match = PART_FILE.exec(file);
  if (!match) return undefined;
  const [, channel, locale = '', part] = match;
  // The pattern is the proof of both types.
  return { file, channel: channel as TemplateChannel, locale, part: part as PartName };
}

/** A TOML file whose keys are all known and whose values are all text. Nested tables read as `colors.primary`. */
export function parseSettings(
  folder: Folder,
  file: string,
  known: { readonly needed: readonly string[]; readonly optional: readonly string[] },
  faults: Faults,
): ReadonlyMap<string, string> {
  const path = `${folder.path}/${file}`;
  const settings = new Map<string, string>();
  const text = folder.files.get(file);
  if (text === undefined) {
    faults.add(path, 'is missing');
    return settings;
  }
  const read = (table: object, prefix: string): void => {
    for (const [name, value] of Object.entries<unknown>(table as Record<string, unknown>)) {
      const key = prefix + name;
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) read(value, `${key}.`);
      else if (![...known.needed, ...known.optional].includes(key)) faults.add(path, `there is no setting ${key}`);
      else if (typeof value !== 'string') faults.add(path, `${key} must be text`);
      else settings.set(key, value);
    }
  };
  const table = faults.attempt(path, () => parse(text));
  if (!table) return settings;
  read(table, '');
  for (const key of known.needed) if (!settings.has(key)) faults.add(path, `${key} is missing`);
  return settings;
}

/** Short, and another one whenever a byte of the files changes. */
export function versionOf(folders: readonly Folder[]): string {
  const hash = createHash('sha256');
  for (const { files } of folders) {
    for (const [name, text] of files) hash.update(JSON.stringify([name, text]));
  }
  return hash.digest('hex').slice(0, 12);
}
