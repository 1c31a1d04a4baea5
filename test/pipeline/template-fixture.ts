import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import type { JsonObject, NotificationSpec } from '../../src/domain/notification.ts';
import { Renderer } from '../../src/pipeline/render.ts';
import type { RendererOptions } from '../../src/pipeline/render.ts';
import { loadTemplates } from '../../src/pipeline/templates.ts';
import type { Templates } from '../../src/pipeline/templates.ts';

export const SHIPPED = join(import.meta.dirname, '../../templates');
const STORE = { storeName: 'Fern & Co', storeUrl: 'https://fern.example', defaultLocale: 'en' };
/** Late enough in the year and the day to be another year, and another day, in some time zones. */
export const NOW = Date.parse('2026-11-22T23:30:00Z');

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
  write(files: Readonly<Record<string, string | Uint8Array>>): Promise<void>;
}

export async function tempFolder(files: Readonly<Record<string, string | Uint8Array>>): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), 'carillon-templates-'));
  const folder: TempFolder = {
    path,
    async write(more) {
      for (const [name, content] of Object.entries(more)) {
        await mkdir(dirname(join(path, name)), { recursive: true });
        await writeFile(join(path, name), content);
      }
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
  await folder.write(files);
  return folder;
}

/** The files of a template named `note`, for Slack unless `parts` says otherwise. */
export function noteFiles(
  parts: string | Readonly<Record<string, string>>,
  sample: JsonObject = {},
  schema: JsonObject = {},
): Record<string, string> {
  const files = typeof parts === 'string' ? { 'slack.en.text.hbs': parts } : parts;
  return {
    'note/template.toml': 'description = "a note"',
    'note/schema.json': JSON.stringify(schema),
    'note/sample.json': JSON.stringify(sample),
    ...Object.fromEntries(Object.entries(files).map(([name, text]) => [`note/${name}`, text])),
  };
}

export function specOf(given: Partial<NotificationSpec>): NotificationSpec {
  return {
    id: '019a0000-0000-7000-8000-000000000000',
    tenant: 'default',
    groupId: '019a0000-0000-7000-8000-000000000001',
    type: 'note',
    channel: 'slack',
    priority: 'normal',
    category: 'general',
    recipient: {},
    unknownOutcome: 'retry',
    metadata: {},
    attachmentCount: 0,
    createdAt: NOW,
    ...given,
  };
}

export function rendererOf(templates: Pick<Templates, 'find'>, options: Partial<RendererOptions> = {}): Renderer {
  return new Renderer({ ...STORE, ...options, templates });
}

/** Loads `source` as the template `note` and renders it; an open schema leaves the checks to the rendering. */
export async function renderNote(
  source: string,
  { sample = {}, ...given }: Partial<NotificationSpec> & { readonly sample?: JsonObject } = {},
): Promise<string> {
  await using folder = await tempFolder(noteFiles(source, sample));
  await using templates = await loadTemplates(folder.path);
  const spec = specOf({ data: sample, ...given });
  return rendererOf(templates).render(spec, NOW).content.textBody ?? '';
}

/** What `run` throws or rejects with. */
export async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (thrown) {
    return thrown;
  }
  throw new Error('nothing was thrown');
}
