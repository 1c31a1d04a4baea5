/** Prints docs/config.md from src/carillon.default.toml and the settings of the providers. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultSchema } from '../src/config.ts';
import { variableOf } from '../src/config/layers.ts';
import type { KeySpec, Schema, Section } from '../src/config/schema.ts';

export const CONFIG_DOCS = join(import.meta.dirname, '..', 'docs', 'config.md');

const INTRODUCTION = `# Configuration

<!-- Printed by scripts/config-docs.ts from src/carillon.default.toml and src/providers; \`npm run docs\` prints it again. -->

Carillon starts without any configuration. A value is looked for in four places; the later one wins:

1. the default, as it stands below;
2. the file named by \`--config\`, else by the variable \`CARILLON_CONFIG\`, else \`carillon.toml\` in the working directory.
   In it \`\${NAME}\` stands for the variable of that name, which must be set; \`$\${NAME}\` stands for the text \`\${NAME}\`;
3. variables: the key in capitals, with \`_\` for each dot, after \`CARILLON_\`. Lists are written \`a,b\` or as TOML, lists of
   tables as TOML: \`CARILLON_NOTIFICATIONS_RATE_LIMITS='[{ channel = "sms", max_per_minute = 10 }]'\`;
4. flags: \`--set key=value\`, any number of times, and \`--role api,worker\`.

Relative paths are relative to the working directory. A key that is not known, a value of the wrong kind or out of range, a
missing variable or secret, or a combination that cannot work stops the start; every fault is named, and no secret is shown.
\`provider = "smtp"\` may be written for \`providers = ["smtp"]\`. For an example see \`examples/carillon.toml\`.

A provider is used once the \`providers\` of its channel name it; "needed" is what it must be given then. \`carillon doctor\` asks
every provider in use whether its credentials are good, and sends nothing.
`;

export function renderConfigDocs(schema: Schema): string {
  return [INTRODUCTION, ...schema.sections.map(renderSection)].join('\n');
}

function renderSection(section: Section): string {
  const title = section.path === '' ? 'Top level' : `\`[${section.path}]\``;
  const plain = section.keys.filter((key) => key.kind !== 'tables');
  return [
    `## ${title}\n`,
    ...(section.doc === '' ? [] : [`${prose(section.doc)}\n`]),
    ...(plain.length === 0 ? [] : [table(plain, true)]),
    ...section.keys.filter((key) => key.kind === 'tables').map(renderTables),
  ].join('\n');
}

function renderTables(key: KeySpec): string {
  return `### \`[[${key.path}]]\`\n\n${prose(key.doc)} Variable: \`${variableOf(key.path)}\`.\n\n${table(key.items, false)}`;
}

function table(keys: readonly KeySpec[], withVariable: boolean): string {
  const rows = keys.map((key) => {
    const name = key.path.slice(key.path.lastIndexOf('.') + 1);
    const variable = withVariable ? ` | \`${variableOf(key.path)}\`` : '';
    return `| \`${name}\` | ${fallback(key)} | ${describe(key)}${variable} |`;
  });
  const head = `| Key | Default | Meaning${withVariable ? ' | Variable' : ''} |`;
  return `${[head, head.replaceAll(/[^|]+/g, ' --- '), ...rows].join('\n')}\n`;
}

const fallback = (key: KeySpec): string => (key.required ? 'required' : `\`${JSON.stringify(key.fallback)}\``);

function describe(key: KeySpec): string {
  const rules = [
    ...(key.words ? [`One of ${key.words.map((word) => `\`${word}\``).join(', ')}.`] : []),
    ...(key.range ? [`${key.range[0]} to ${key.range[1]}.`] : []),
    ...(key.kind === 'fraction' ? ['May be a fraction.'] : []),
    ...(key.format === 'file' ? ['Path of a file.'] : []),
    ...(key.secret ? ['Secret.'] : []),
  ];
  return prose([key.doc, ...rules].filter((part) => part !== '').join(' '));
}

/** `|` would end a cell, and `<name>` would be taken for HTML and not be seen. */
const prose = (text: string): string => text.replaceAll(/[|<]/g, '\\$&');

if (import.meta.main) writeFileSync(CONFIG_DOCS, renderConfigDocs(defaultSchema()));
