import { rename } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'chai';

import { TemplatesError } from '../../src/pipeline/template-faults.ts';
import { loadTemplates } from '../../src/pipeline/templates.ts';
import { eventually } from '../support/eventually.ts';
import { noteFiles, NOW, rendererOf, specOf, tempFolder, thrownBy } from './template-fixture.ts';

const DESIGN = {
  '_designs/plain/design.toml':
    '[colors]\nprimary = "#111"\nsecondary = "#222222"\naccent = "#333"\ntext = "#444"\nbackground = "#fff"',
  '_designs/plain/layout.html.hbs': '<body bgcolor="{{brand.background}}">{{{header}}}[{{{body}}}]{{{footer}}}</body>',
};
const MAIL = { 'email.en.subject.hbs': 'Hi', 'email.en.html.hbs': '<b>{{name}}</b>' };

async function faultsOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<string[]> {
  await using folder = await tempFolder(files);
  const thrown = await thrownBy(() => loadTemplates(folder.path));
  expect(thrown).to.be.instanceOf(TemplatesError);
  return (thrown as TemplatesError).faults.map((fault) => fault.file);
}

describe('the folder of the templates', () => {
  it('is refused with every fault at once, each with its file', async () => {
    const files = {
      'README.md': 'x',
      'Bad Name/template.toml': '',
      '_designs/stray.txt': 'x',
      '_designs/broken/design.toml': '[colors]\nprimary = "red"\nblink = "#fff"',
      '_designs/broken/header.html.hbs': '{{order.number}}',
      '_designs/broken/extra.css': 'x',
      'toml/template.toml': 'description = ',
      'toml/schema.json': '{ "type": "objct" }',
      'toml/sample.json': '[]',
      'toml/slack.en.text.hbs': '{{#if}}',
      'names/template.toml': 'description = "x"\ncolour = "red"\ndesign = "absent"\nlocale = 5',
      'names/schema.json': '{',
      'names/sample.json': '{}',
      'names/webhook.en.text.hbs': 'x',
      'names/sms.en.html.hbs': 'x',
      'names/slack.pt-br.text.hbs': 'x',
      'names/notes.txt': 'x',
      'names/inner/file': 'x',
      'parts/template.toml': 'description = "x"',
      'parts/schema.json': '{}',
      'parts/sample.json': '{}',
      'parts/email.en.text.hbs': 'x',
      'parts/push.pt.title.hbs': 'x',
      'empty/template.toml': 'locale = "en"',
    };
    expect((await faultsOf(files)).toSorted()).to.deep.equal(
      [
        'README.md',
        'Bad Name',
        '_designs/stray.txt',
        '_designs/broken/design.toml',
        '_designs/broken/design.toml',
        '_designs/broken/design.toml',
        '_designs/broken/design.toml',
        '_designs/broken/design.toml',
        '_designs/broken/design.toml',
        '_designs/broken/header.html.hbs',
        '_designs/broken/layout.html.hbs',
        '_designs/broken/extra.css',
        'toml/template.toml',
        'toml/schema.json',
        'toml/sample.json',
        'toml/slack.en.text.hbs',
        'names/template.toml',
        'names/template.toml',
        'names/template.toml',
        'names/schema.json',
        'names/webhook.en.text.hbs',
        'names/sms.en.html.hbs',
        'names/slack.pt-br.text.hbs',
        'names/notes.txt',
        'names/inner',
        'names',
        'parts/email.en.subject.hbs',
        'parts/push.pt.text.hbs',
        'parts',
        'empty/template.toml',
        'empty/schema.json',
        'empty/sample.json',
        'empty',
      ].toSorted(),
    );
  });

  it('is refused when a sample does not fit its schema', async () => {
    const schema = { required: ['a', 'b'], properties: { a: {}, b: {} } };
    expect(await faultsOf(noteFiles('x', {}, schema))).to.deep.equal(['note/sample.json', 'note/sample.json']);
  });

  it('is refused when a part cannot be rendered with the sample', async () => {
    expect(await faultsOf(noteFiles('x {{number name}}', { name: 'Ada' }))).to.deep.equal(['note/slack.en.text.hbs']);
  });

  it('is refused when a part cannot be rendered for a recipient of whom nothing is known', async () => {
    expect(await faultsOf(noteFiles('Hi {{recipient.first_name}}'))).to.deep.equal(['note/slack.en.text.hbs']);
    await using folder = await tempFolder(noteFiles('Hi {{default recipient.first_name "you"}}'));
    await using templates = await loadTemplates(folder.path);
    expect(templates.list()).to.have.length(1);
  });

  it('is refused when a schema could hold up the process', async () => {
    for (const schema of [
      { properties: { a: { pattern: '(a+)+$' } } },
      { patternProperties: { '(a+)+$': {} } },
      { properties: { a: { uniqueItems: true } } },
      { $defs: { a: {} }, properties: { a: { $ref: '#/$defs/a' } } },
      { properties: { a: { $dynamicRef: '#a' } } },
    ]) {
      expect(await faultsOf(noteFiles('x', {}, schema)), JSON.stringify(schema)).to.deep.equal(['note/schema.json']);
    }
  });

  it('is refused with a file that is not UTF-8', async () => {
    const files = { ...noteFiles('x'), 'note/slack.en.text.hbs': Uint8Array.of(0xff, 0xfe) };
    expect(await faultsOf(files)).to.include('note/slack.en.text.hbs');
  });

  it('may hold what editors and file managers leave behind', async () => {
    const strays = { '.DS_Store': 'x', 'note/.slack.en.text.hbs.swp': 'x', 'note/slack.en.text.hbs~': '{{' };
    await using folder = await tempFolder({ ...noteFiles('x'), ...strays });
    await using templates = await loadTemplates(folder.path);
    expect(templates.list()).to.have.length(1);
  });

  it('finds a template by the recipient locale, then its language, then the locale to fall back to', async () => {
    const parts = {
      'slack.pt-BR.text.hbs': 'x',
      'slack.pt.text.hbs': 'x',
      'slack.fr.text.hbs': 'x',
      'sms.fr.text.hbs': 'x',
    };
    const toml = { 'note/template.toml': 'description = "x"\nlocale = "fr"' };
    await using folder = await tempFolder({ ...noteFiles(parts), ...toml });
    await using templates = await loadTemplates(folder.path);
    const found = (locale: string) => templates.find('note', 'slack', locale)?.locale;
    expect(['pt-BR', 'pt-br', 'pt-PT', 'pt', 'pt-BR-x', 'fr-CA', 'ja', 'p'].map(found)).to.deep.equal([
      'pt-BR',
      'pt-BR',
      'pt',
      'pt',
      'pt-BR',
      'fr',
      'fr',
      'fr',
    ]);
    expect(templates.find('note', 'sms', 'pt-BR')?.locale).to.equal('fr');
    expect(templates.find('note', 'push', 'fr')).to.equal(undefined);
    expect(templates.find('absent', 'slack', 'fr')).to.equal(undefined);
  });

  it('gives another version to a template, and only to it, when one of its files or its design changes', async () => {
    const other = Object.entries(noteFiles(MAIL, { name: 'x' })).map(([file, text]) => [
      file.replace('note', 'other'),
      text,
    ]);
    const files = {
      ...DESIGN,
      ...noteFiles(MAIL, { name: 'x' }),
      ...(Object.fromEntries(other) as Record<string, string>),
    };
    await using folder = await tempFolder({ ...files, 'note/template.toml': 'description = "x"\ndesign = "plain"' });
    const versions = async () => {
      await using templates = await loadTemplates(folder.path);
      return templates.list().map((template) => template.version);
    };
    const [note, otherNote] = await versions();
    await folder.write({ 'note/email.en.html.hbs': '<i>{{name}}</i>' });
    const [changed, unchanged] = await versions();
    await folder.write({ '_designs/plain/footer.html.hbs': 'foot' });
    const [redesigned, alsoUnchanged] = await versions();
    expect(new Set([note, changed, redesigned]).size).to.equal(3);
    expect(new Set([otherNote, unchanged, alsoUnchanged]).size).to.equal(1);
  });

  it('puts header, body and footer into a design, the body not escaped again', async () => {
    const slots = {
      '_designs/plain/header.html.hbs': '<h1>{{store_name}}</h1>',
      '_designs/plain/footer.html.hbs': '{{year}}',
    };
    const toml = { 'note/template.toml': 'description = "x"\ndesign = "plain"' };
    await using folder = await tempFolder({ ...DESIGN, ...slots, ...noteFiles(MAIL, { name: 'x' }), ...toml });
    await using templates = await loadTemplates(folder.path);
    const { content } = rendererOf(templates).render(specOf({ channel: 'email', data: { name: '<Ada>' } }), NOW);
    expect(content.htmlBody).to.equal('<body bgcolor="#fff"><h1>Fern &amp; Co</h1>[<b>&lt;Ada&gt;</b>]2026</body>');
  });

  describe('when it is watched', () => {
    it('is read again after a change, and the last good templates stay while it is faulty', async () => {
      await using folder = await tempFolder(noteFiles('one'));
      const seen: unknown[] = [];
      const watch = { onReload: () => seen.push('reloaded'), onFault: (thrown: unknown) => seen.push(thrown) };
      await using templates = await loadTemplates(folder.path, { watch });
      const text = () => rendererOf(templates).render(specOf({}), NOW).content.textBody;

      await folder.write({ 'next.tmp~': 'two' });
      await rename(join(folder.path, 'next.tmp~'), join(folder.path, 'note/slack.en.text.hbs'));
      await eventually('the new text', () => text() === 'two');

      await folder.write({ 'note/slack.en.text.hbs': '{{' });
      await eventually('a fault', () => seen.at(-1) instanceof TemplatesError);
      expect(text()).to.equal('two');

      await folder.write({ 'note/slack.en.text.hbs': 'three' });
      await eventually('the third text', () => text() === 'three');
    });
  });
});
