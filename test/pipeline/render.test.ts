import { expect } from 'chai';

import type { Content, JsonObject, NotificationSpec } from '../../src/domain/notification.ts';
import { CarillonError } from '../../src/errors.ts';
import { RenderError } from '../../src/pipeline/render-error.ts';
import type { Renderer } from '../../src/pipeline/render.ts';
import { loadTemplates } from '../../src/pipeline/templates.ts';
import { noteFiles, NOW, rendererOf, renderNote, SHIPPED, specOf, tempFolder, thrownBy } from './template-fixture.ts';

async function refusal(renderer: Renderer, spec: NotificationSpec): Promise<CarillonError> {
  const thrown = await thrownBy(() => renderer.check(spec));
  if (!(thrown instanceof CarillonError)) throw thrown;
  return thrown;
}

const fieldsOf = (error: CarillonError): string[] => error.violations.map((violation) => violation.field);

function nested(depth: number): JsonObject {
  return depth === 1 ? {} : { in: nested(depth - 1) };
}

describe('rendering', () => {
  let shipped: Awaited<ReturnType<typeof loadTemplates>>;
  let renderer: Renderer;

  before(async () => {
    shipped = await loadTemplates(SHIPPED);
    renderer = rendererOf(shipped);
  });

  const render = (given: Partial<NotificationSpec>) => {
    const spec = specOf(given);
    renderer.check(spec);
    return renderer.render(spec, NOW);
  };

  describe('from a template', () => {
    it('says from which template, version and locale the content was made, and when', () => {
      const data = { reset_url: 'https://x.example' };
      const { content: _, ...facts } = render({ type: 'password_reset', channel: 'email', data });
      const version = shipped.find('password_reset', 'email', 'en')?.version;
      expect(facts).to.deep.equal({
        templateId: 'password_reset',
        templateVersion: version,
        locale: 'en',
        renderedAt: NOW,
      });
    });

    it('uses the template that is named rather than that of the type', () => {
      const data = { reset_url: 'https://x.example' };
      const { templateId } = render({ type: 'order_shipped', templateId: 'password_reset', channel: 'email', data });
      expect(templateId).to.equal('password_reset');
    });

    it('uses the default locale for a recipient that has none', () => {
      const spec = specOf({
        type: 'order_shipped',
        channel: 'sms',
        data: { order: { number: '1', tracking_url: 'x:y' } },
      });
      expect(rendererOf(shipped, { defaultLocale: 'pt-BR' }).render(spec, NOW).locale).to.equal('pt');
    });

    it('lets no value of a Slack message link or call anybody, and leaves the markup of the template', async () => {
      const source = '<!here> <{{url}}|{{default name "you"}}>';
      const sample = { url: 'https://x.example/?a=1&b=2', name: '<!channel> & <@U1>' };
      const text = '<!here> <https://x.example/?a=1&amp;b=2|&lt;!channel&gt; &amp; &lt;@U1&gt;>';
      expect(await renderNote(source, { sample })).to.equal(text);
    });

    it('escapes values of a mail in HTML, and only there', async () => {
      const parts = {
        'email.en.subject.hbs': '{{name}}',
        'email.en.html.hbs': '<a title="{{name}}">',
        'email.en.text.hbs': '{{name}}',
      };
      const name = `<b>"Q" & 'q'</b>`;
      await using folder = await tempFolder(noteFiles(parts, { name }));
      await using templates = await loadTemplates(folder.path);
      const { content } = rendererOf(templates).render(specOf({ channel: 'email', data: { name } }), NOW);
      expect(content).to.deep.equal({
        subject: name,
        htmlBody: '<a title="&lt;b&gt;&quot;Q&quot; &amp; &#x27;q&#x27;&lt;/b&gt;">',
        textBody: name,
      });
    });

    it('keeps line breaks and control characters of values out of a subject', async () => {
      const parts = { 'email.en.subject.hbs': 'Order\n{{name}}\n', 'email.en.text.hbs': 'x' };
      await using folder = await tempFolder(noteFiles(parts, { name: 'x' }));
      await using templates = await loadTemplates(folder.path);
      const data = { name: 'A\r\nBcc: eve@x.example\u2028\0!' };
      const { content } = rendererOf(templates).render(specOf({ channel: 'email', data }), NOW);
      expect(content.subject).to.equal('Order A Bcc: eve@x.example !');
    });

    it('refuses a subject of more than 998 characters', async () => {
      const parts = { 'email.en.subject.hbs': '{{name}}', 'email.en.text.hbs': 'x' };
      await using folder = await tempFolder(noteFiles(parts, { name: 'x' }));
      await using templates = await loadTemplates(folder.path);
      const run = (length: number) => () =>
        rendererOf(templates).render(specOf({ channel: 'email', data: { name: 'ü'.repeat(length) } }), NOW);
      expect(run(998)).to.not.throw();
      expect(run(999)).to.throw(RenderError);
    });

    it('makes the text of a mail from its HTML where the template has no text', async () => {
      const parts = { 'email.en.subject.hbs': 'x', 'email.en.html.hbs': '<p>Hi <b>{{name}}</b></p><p>Bye</p>' };
      await using folder = await tempFolder(noteFiles(parts, { name: 'x' }));
      await using templates = await loadTemplates(folder.path);
      const { content } = rendererOf(templates).render(specOf({ channel: 'email', data: { name: '<Ada>' } }), NOW);
      expect(content.textBody).to.equal('Hi <Ada>\n\nBye');
    });

    it('makes the content of push and in-app messages from title and text', async () => {
      const parts = Object.fromEntries(
        ['push', 'in_app'].flatMap((channel) => [
          [`${channel}.en.title.hbs`, 'T {{name}}'],
          [`${channel}.en.text.hbs`, 'B {{name}}'],
        ]),
      );
      await using folder = await tempFolder(noteFiles(parts, { name: 'x' }));
      await using templates = await loadTemplates(folder.path);
      const content = (channel: 'push' | 'in_app') =>
        rendererOf(templates).render(specOf({ channel, data: { name: 'n' } }), NOW).content;
      expect(content('push')).to.deep.equal({ push: { title: 'T n', body: 'B n', actions: [] } });
      expect(content('in_app')).to.deep.equal({ subject: 'T n', textBody: 'B n' });
    });

    it('gives every template the recipient, the store and the year; data cannot take their place', async () => {
      const source =
        '{{recipient.first_name}} {{recipient.locale}} {{recipient.time_zone}} {{store_name}} {{store_url}} {{year}}';
      const guarded = source.replace('{{recipient.first_name}}', '{{default recipient.first_name "-"}}');
      const data = { recipient: { first_name: 'Eve' }, store_name: 'Fake', store_url: 'x', year: 1 };
      const recipient = { firstName: 'Ada', locale: 'en-GB', timeZone: 'Asia/Tokyo' };
      const written = await renderNote(guarded, { sample: data, recipient });
      expect(written).to.equal('Ada en-GB Asia/Tokyo Fern &amp; Co https://fern.example 2026');
      expect(await renderNote(guarded, { sample: data })).to.match(/^- en UTC /);
    });

    describe('for a text message', () => {
      const rendered = async (name: string, type: NonNullable<NotificationSpec['sms']>['type']) => {
        await using folder = await tempFolder(noteFiles({ 'sms.en.text.hbs': 'Hi {{name}}' }, { name: 'x' }));
        await using templates = await loadTemplates(folder.path);
        return rendererOf(templates).render(specOf({ channel: 'sms', sms: { type }, data: { name } }), NOW);
      };

      it('tells its size as the type that was asked for', async () => {
        expect((await rendered('Ada', 'auto')).sms).to.deep.equal({ type: 'text', characters: 6, segments: 1 });
        expect((await rendered('Ada', 'unicode')).sms).to.deep.equal({ type: 'unicode', characters: 6, segments: 1 });
      });

      it('fails with RenderError that names the template, when the text is too long or of other characters', async () => {
        for (const [name, type] of [
          ['x'.repeat(1_598), 'auto'],
          ['João', 'text'],
          ['Ada', 'binary'],
        ] as const) {
          const thrown = await thrownBy(() => rendered(name, type));
          expect(thrown, type).to.be.instanceOf(RenderError).with.property('source').that.includes('note');
        }
      });
    });

    it('fails with RenderError when the template is gone since the notification was accepted', () => {
      expect(() => renderer.render(specOf({ type: 'gone', channel: 'email' }), NOW)).to.throw(RenderError);
    });

    it('quotes no value of the data in an error', async () => {
      await using folder = await tempFolder(noteFiles('{{currency total}}', { total: 1 }));
      await using templates = await loadTemplates(folder.path);
      const run = () => rendererOf(templates).render(specOf({ data: { total: 'secret-value' } }), NOW);
      expect(run).to.throw(RenderError).with.property('message').that.does.not.include('secret');
    });
  });

  describe('of the content that the caller gives', () => {
    const inline = (channel: NotificationSpec['channel'], content: Content) => render({ channel, content }).content;

    it('takes it as it is, not as a template, and names none', () => {
      const content = { subject: 'Hi {{name}}', htmlBody: '<p>{{{x}}}</p>', textBody: '{{#if}}' };
      expect(render({ type: 'order_confirmation', channel: 'email', content })).to.deep.equal({
        content,
        renderedAt: NOW,
      });
    });

    it('makes the text of a mail from its HTML', () => {
      const htmlBody = '<h1>Hello</h1><p>See <a href="https://x.example">the shop</a><img src="p.png"></p>';
      expect(inline('email', { subject: 's', htmlBody }).textBody).to.equal(
        'HELLO\n\nSee the shop [https://x.example]',
      );
    });

    for (const [what, htmlBody] of Object.entries({
      'too large': '<p>x</p>'.repeat(20_000),
      'nested too deep': `${'<div>'.repeat(200)}x`,
      'nested too deep behind stray end tags': '<div></x>'.repeat(200),
      'without any text': '<img src="p.png">',
    })) {
      it(`sends HTML that is ${what} without a text part`, () => {
        expect(inline('email', { subject: 's', htmlBody })).to.deep.equal({ subject: 's', htmlBody });
      });
    }

    it('keeps only what the channel uses, and sends text_body as text message where there is no other', () => {
      const content = { subject: 's', htmlBody: '<p>h</p>', textBody: 't', webhookBody: [1] };
      expect(inline('sms', content)).to.deep.equal({ smsBody: 't' });
      expect(inline('sms', { ...content, smsBody: 'm' })).to.deep.equal({ smsBody: 'm' });
      expect(inline('slack', content)).to.deep.equal({ textBody: 't' });
      expect(inline('discord', content)).to.deep.equal({ textBody: 't' });
      expect(inline('in_app', content)).to.deep.equal({ subject: 's', textBody: 't' });
      expect(inline('webhook', content)).to.deep.equal({ webhookBody: [1] });
      const push = { title: 't', body: 'b', actions: [] };
      expect(inline('push', { ...content, push })).to.deep.equal({ push });
    });

    const refused: [NotificationSpec['channel'], Content, string][] = [
      ['email', { textBody: 'x' }, 'subject'],
      ['email', { subject: 's' }, 'html_body'],
      ['email', { subject: 'a\r\nBcc: b', textBody: 'x' }, 'subject'],
      ['email', { subject: 'x'.repeat(999), textBody: 'x' }, 'subject'],
      ['email', { subject: 's', htmlBody: 'ü'.repeat(524_289) }, 'html_body'],
      ['email', { subject: 's', textBody: 'ü'.repeat(524_289) }, 'text_body'],
      ['sms', { htmlBody: 'x' }, 'sms_body'],
      ['sms', { smsBody: 'x'.repeat(1_601) }, 'sms_body'],
      ['sms', { textBody: 'x'.repeat(1_601) }, 'text_body'],
      ['push', { textBody: 'x' }, 'push'],
      ['push', { push: { title: ' ', body: '', actions: [] } }, 'push.title'],
      ['push', { push: { title: 'x'.repeat(257), body: '', actions: [] } }, 'push.title'],
      ['push', { push: { title: '', body: 'x'.repeat(4_097), actions: [] } }, 'push.body'],
      ['in_app', { subject: 's' }, 'text_body'],
      ['slack', { smsBody: 'x' }, 'text_body'],
      ['discord', { textBody: 'ü'.repeat(524_289) }, 'text_body'],
    ];
    for (const [channel, content, field] of refused) {
      it(`refuses it for ${channel} when ${field} is missing or too much, at accept and again at render`, async () => {
        const error = await refusal(renderer, specOf({ channel, content }));
        expect(error.reason).to.equal('INVALID_FIELD');
        expect(fieldsOf(error)).to.deep.equal([`notification.content.${field}`]);
        expect(() => renderer.render(specOf({ channel, content }), NOW)).to.throw(RenderError);
      });
    }

    const coded: [NonNullable<NotificationSpec['sms']>['type'], Content, string][] = [
      ['text', { smsBody: 'Olá, coração' }, 'sms_body'],
      ['text', { textBody: 'Olá, coração' }, 'text_body'],
      ['binary', { smsBody: 'hello' }, 'sms_body'],
      ['binary', { smsBody: '0'.repeat(1_602) }, 'sms_body'],
    ];
    for (const [type, content, field] of coded) {
      it(`refuses a ${field} that cannot be sent as ${type}, at accept and again at render`, async () => {
        const spec = specOf({ channel: 'sms', content, sms: { type } });
        const error = await refusal(renderer, spec);
        expect(error.reason).to.equal('INVALID_FIELD');
        expect(fieldsOf(error)).to.deep.equal([`notification.content.${field}`]);
        expect(() => renderer.render(spec, NOW)).to.throw(RenderError);
      });
    }

    it('tells the size of a text message, as the type that was asked for', () => {
      const sizes = (smsBody: string, type?: NonNullable<NotificationSpec['sms']>['type']) =>
        render({ channel: 'sms', content: { smsBody }, ...(type && { sms: { type } }) }).sms;
      expect(sizes('a'.repeat(161))).to.deep.equal({ type: 'text', characters: 161, segments: 2 });
      expect(sizes('ç', 'auto')).to.deep.equal({ type: 'unicode', characters: 1, segments: 1 });
      expect(sizes('a'.repeat(71), 'unicode')).to.deep.equal({ type: 'unicode', characters: 71, segments: 2 });
      expect(sizes('00ff', 'binary')).to.deep.equal({ type: 'binary', characters: 2, segments: 1 });
      const textBody = 'from the other field';
      expect(render({ channel: 'sms', content: { textBody } }).sms).to.include({ characters: textBody.length });
      expect(render({ channel: 'slack', content: { textBody } })).not.to.have.property('sms');
    });

    it('counts characters, not code units', () => {
      expect(inline('sms', { smsBody: '🔔'.repeat(1_600) }).smsBody).to.have.length(3_200);
    });
  });

  it('makes the body of a webhook from type, time of acceptance and data, the same at every try', () => {
    const spec = specOf({ type: 'order_confirmation', channel: 'webhook', data: { any: 'thing' } });
    renderer.check(spec);
    const body = { type: 'order_confirmation', timestamp: '2026-11-22T23:30:00.000Z', data: { any: 'thing' } };
    expect(renderer.render(spec, NOW + 5_000)).to.deep.equal({
      content: { webhookBody: body },
      renderedAt: NOW + 5_000,
    });
    const content = { subject: 'for the mail' };
    expect(render({ channel: 'webhook', content }).content.webhookBody).to.deep.include({ type: 'note', data: {} });
    expect(render({ channel: 'webhook', content: { webhookBody: null } }).content).to.deep.equal({ webhookBody: null });
  });

  describe('checked when a notification is accepted', () => {
    it('answers TEMPLATE_NOT_FOUND for a template that is not there, or not for the channel', async () => {
      for (const given of [
        { type: 'unknown', channel: 'email' },
        { type: 'order_shipped', channel: 'email' },
        { type: 'order_shipped', templateId: 'unknown', channel: 'sms' },
        { channel: 'in_app' },
        { channel: 'push' },
      ] as const) {
        const error = await refusal(renderer, specOf(given));
        expect(error.reason).to.equal('TEMPLATE_NOT_FOUND');
        expect(error.metadata).to.include({ channel: given.channel });
      }
    });

    it('answers TEMPLATE_DATA_INVALID with the path of each fault in the data', async () => {
      const items = [
        { name: 'x', quantity: 1, price: 1 },
        { name: 'y', quantity: 0.5, price: '1' },
      ];
      const data = { order: { number: 7, total: 1, items, placed_at: 'today', shipping_address: {} } };
      const error = await refusal(renderer, specOf({ type: 'order_confirmation', channel: 'email', data }));
      expect(error.reason).to.equal('TEMPLATE_DATA_INVALID');
      expect(fieldsOf(error)).to.include.members([
        'notification.data.order.number',
        'notification.data.order.placed_at',
        'notification.data.order.items[1].quantity',
        'notification.data.order.items[1].price',
        'notification.data.order.shipping_address.city',
      ]);
      const none = await refusal(renderer, specOf({ type: 'password_reset', channel: 'email' }));
      expect(fieldsOf(none)).to.deep.equal(['notification.data.reset_url']);
    });

    it('names at most 20 faults', async () => {
      const items = Array.from({ length: 30 }, () => 1);
      const error = await refusal(
        renderer,
        specOf({ type: 'order_confirmation', channel: 'email', data: { order: { items } } }),
      );
      expect(error.violations).to.have.length(20);
    });

    it('refuses data that is nested more than 32 deep', async () => {
      render({ channel: 'webhook', data: nested(32) });
      const error = await refusal(renderer, specOf({ channel: 'webhook', data: nested(33) }));
      expect(fieldsOf(error)).to.deep.equal(['notification.data']);
      const endless = specOf({ channel: 'webhook', data: nested(5_000) });
      expect((await refusal(renderer, endless)).reason).to.equal('INVALID_FIELD');
    });

    it('refuses data of more than 256 KiB as JSON', async () => {
      const empty = JSON.stringify({ a: '' }).length;
      render({ channel: 'webhook', data: { a: 'x'.repeat(262_144 - empty) } });
      const error = await refusal(renderer, specOf({ channel: 'webhook', data: { a: 'x'.repeat(262_145 - empty) } }));
      expect(fieldsOf(error)).to.deep.equal(['notification.data']);
    });

    for (const [channel, field, of] of [
      ['webhook', 'notification.content.webhook_body', (a: string) => ({ webhookBody: { a } })],
      [
        'push',
        'notification.content.push.data',
        (a: string) => ({ push: { title: 't', body: '', actions: [], data: { a } } }),
      ],
    ] as const) {
      it(`refuses a ${field} of more than 256 KiB as JSON`, async () => {
        const empty = JSON.stringify({ a: '' }).length;
        renderer.check(specOf({ channel, content: of('x'.repeat(262_144 - empty)) }));
        const error = await refusal(renderer, specOf({ channel, content: of('x'.repeat(262_145 - empty)) }));
        expect(fieldsOf(error)).to.deep.equal([field]);
      });
    }

    it('refuses a locale or time zone that does not exist', async () => {
      const recipient = { locale: 'en-a', timeZone: 'Mars/Base' };
      const error = await refusal(renderer, specOf({ channel: 'webhook', recipient }));
      expect(error.reason).to.equal('INVALID_FIELD');
      expect(fieldsOf(error)).to.deep.equal(['notification.recipient.locale', 'notification.recipient.time_zone']);
    });
  });
});
