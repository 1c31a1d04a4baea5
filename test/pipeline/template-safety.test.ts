import { expect } from 'chai';

import type { JsonObject } from '../../src/domain/notification.ts';
import { RenderError } from '../../src/pipeline/render-error.ts';
import { TemplatesError } from '../../src/pipeline/template-faults.ts';
import { MAX_FILE_BYTES } from '../../src/pipeline/template-folder.ts';
import { MAX_PART_CHARS, MAX_STEPS } from '../../src/pipeline/template-state.ts';
import { loadTemplates } from '../../src/pipeline/templates.ts';
import { noteFiles, NOW, rendererOf, renderNote, specOf, tempFolder, thrownBy } from './template-fixture.ts';

/** Renders with data that the sample does not have, so that the fault shows at render and not at load. */
async function renderWith(source: string, data: JsonObject, channel: 'slack' | 'sms' = 'slack'): Promise<unknown> {
  const guarded = `x{{#if on}}${source}{{/if}}`;
  await using folder = await tempFolder(noteFiles({ [`${channel}.en.text.hbs`]: guarded }));
  await using templates = await loadTemplates(folder.path);
  return await thrownBy(() => rendererOf(templates).render(specOf({ channel, data: { ...data, on: true } }), NOW));
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe('a template', () => {
  for (const path of [
    'absent',
    'order.absent',
    'constructor',
    'toString',
    '__proto__',
    'order.constructor.name',
    'order.__proto__.polluted',
    'list.map',
    'list.constructor.constructor',
    'text.constructor',
    'order',
    'list',
  ]) {
    it(`cannot print ${path}: it is not in the data, or not a single value`, async () => {
      const thrown = await renderWith(`{{${path}}}`, { order: { number: '1' }, list: [1], text: 'x' });
      expect(thrown).to.be.instanceOf(RenderError).with.property('message').that.includes('note/slack.en.text.hbs');
    });
  }

  it('prints what the data has under a name that every object inherits', async () => {
    const sample = JSON.parse('{"constructor": "maker", "__proto__": "x", "order": {"toString": 1}}') as JsonObject;
    expect(await renderNote('{{constructor}} {{order.toString}}', { sample })).to.equal('maker 1');
  });

  it('does not take values for templates', async () => {
    expect(await renderNote('{{a}}', { sample: { a: '{{b}} {{> c}}', b: 'no' } })).to.equal('{{b}} {{&gt; c}}');
  });

  for (const source of [
    '{{> part}}',
    '{{> (lookup . "name")}}',
    '{{#> part}}x{{/part}}',
    '{{#*inline "part"}}x{{/inline}}',
    '{{* decorate}}',
    '{{{name}}}',
    '{{&name}}',
    '{{log name}}',
    '{{lookup order "constructor"}}',
    '{{helperMissing name}}',
    '{{#blockHelperMissing name}}x{{/blockHelperMissing}}',
    '{{[ print] name}}',
    '{{#name}}x{{/name}}',
    '{{^name}}x{{/name}}',
    '{{{{raw}}}}x{{{{/raw}}}}',
    '{{if name}}',
    '{{#if}}x{{/if}}',
    '{{#if name name}}x{{/if}}',
    '{{currency (each name)}}',
    '{{"name"}}',
    '{{@state}}',
    '{{@root.absent}}',
    '{{../name}}',
    '{{recipient.card_number}}',
    '{{#if nmae}}x{{/if}}',
    '{{order.nmuber}}',
    '{{#each order.items}}{{pirce}}{{/each}}',
    '{{#each order.items as |item|}}{{item.pirce}}{{/each}}',
    '{{name',
    '{{#if name}}',
    `${'{{#if name}}'.repeat(33)}${'{{/if}}'.repeat(33)}`,
    `{{not ${'(not '.repeat(33)}name${')'.repeat(33)}}}`,
  ]) {
    it(`is refused with ${source.slice(0, 60)}`, async () => {
      const items = { type: 'array', items: { type: 'object', properties: { price: { type: 'number' } } } };
      const order = { type: 'object', properties: { number: { type: 'string' }, items } };
      const schema = { type: 'object', properties: { name: { type: 'string' }, order } };
      const sample = { name: 'Ada', order: { number: '1', items: [{ price: 1 }] } };
      await using folder = await tempFolder(noteFiles(`x${source}`, sample, schema));
      const thrown = await thrownBy(() => loadTemplates(folder.path));
      expect(thrown).to.be.instanceOf(TemplatesError);
      expect((thrown as TemplatesError).faults.map((fault) => fault.file)).to.deep.equal(['note/slack.en.text.hbs']);
    });
  }

  it(`ends after ${MAX_STEPS} steps, however its loops are nested`, async () => {
    const source = '{{#each a}}{{#each @root.a}}{{#each @root.a}}{{/each}}{{/each}}{{/each}}';
    expect(await renderWith(source, { a: numbers(100) })).to.be.instanceOf(RenderError);
    expect(await renderNote(`x${source}`, { sample: { a: numbers(40) } })).to.equal('x');
  });

  it('cannot spend a new budget of steps in each part', async () => {
    const loop = '{{#each a}}{{#each @root.a}}{{/each}}{{/each}}x';
    const parts = { 'email.en.subject.hbs': 'x', 'email.en.html.hbs': loop, 'email.en.text.hbs': loop };
    await using folder = await tempFolder(noteFiles(parts, { a: [] }));
    await using templates = await loadTemplates(folder.path);
    const render = (size: number) => () =>
      rendererOf(templates).render(specOf({ channel: 'email', data: { a: numbers(size) } }), NOW);
    expect(render(200)).to.not.throw();
    expect(render(300)).to.throw(RenderError);
  });

  it(`cannot come to more than ${MAX_PART_CHARS} characters, printed or repeated`, async () => {
    const long = 'x'.repeat(60_000);
    expect(await renderWith('{{a}}'.repeat(20), { a: long })).to.be.instanceOf(RenderError);
    expect(await renderWith(`{{#each a}}${long}{{/each}}`, { a: numbers(20) })).to.be.instanceOf(RenderError);
    expect(await renderNote('{{a}}'.repeat(10), { sample: { a: long } })).to.have.length(600_000);
  });

  it('cannot read without end what it does not print', async () => {
    const source = '{{#each list}}{{#if (eq (uppercase ../a) "x")}}{{/if}}{{/each}}';
    const thrown = await renderWith(source, { a: 'x'.repeat(200_000), list: numbers(1_000) });
    expect(thrown).to.be.instanceOf(RenderError);
  });

  it('cannot make a text message of more than 1,600 characters', async () => {
    expect(await renderWith('{{a}}', { a: 'x'.repeat(1_600) }, 'sms')).to.be.instanceOf(RenderError);
  });

  it('cannot have a part that comes to nothing where the channel needs one', async () => {
    await using folder = await tempFolder(noteFiles('{{a}}', { a: 'x' }));
    await using templates = await loadTemplates(folder.path);
    const spec = specOf({ data: { a: ' ' } });
    expect(() => rendererOf(templates).render(spec, NOW)).to.throw(RenderError);
  });

  it(`cannot have a file of more than ${MAX_FILE_BYTES} bytes`, async () => {
    await using fits = await tempFolder(noteFiles('x'.repeat(MAX_FILE_BYTES)));
    await using templates = await loadTemplates(fits.path);
    expect(templates.list()).to.have.length(1);
    await using folder = await tempFolder(noteFiles('x'.repeat(MAX_FILE_BYTES + 1)));
    expect(await thrownBy(() => loadTemplates(folder.path))).to.be.instanceOf(TemplatesError);
  });
});
