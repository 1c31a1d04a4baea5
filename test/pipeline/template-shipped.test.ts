import { expect } from 'chai';

import type { Recipient } from '../../src/domain/notification.ts';
import { loadTemplates } from '../../src/pipeline/templates.ts';
import type { Template } from '../../src/pipeline/template.ts';
import { NOW, rendererOf, SHIPPED, specOf } from './template-fixture.ts';

describe('the shipped templates', () => {
  let all: readonly Template[] = [];
  let renderer: ReturnType<typeof rendererOf>;

  before(async () => {
    const templates = await loadTemplates(SHIPPED);
    all = templates.list();
    renderer = rendererOf(templates);
  });

  const sampleOf = (id: string) => all.find((template) => template.id === id)?.sample ?? {};
  const render = (type: string, channel: 'email' | 'sms', recipient: Recipient) => {
    const spec = specOf({ type, channel, recipient, data: sampleOf(type) });
    renderer.check(spec);
    return renderer.render(spec, NOW);
  };

  it('are the three of the shop, each in two languages', () => {
    expect(all.map(({ id, channel, locale }) => `${id} ${channel} ${locale}`)).to.deep.equal([
      'order_confirmation email en',
      'order_confirmation email pt',
      'order_shipped sms en',
      'order_shipped sms pt',
      'password_reset email en',
      'password_reset email pt',
    ]);
  });

  it('order_confirmation tells the number, the items, the total, the address and the link, in HTML and in text', () => {
    const { content } = render('order_confirmation', 'email', { firstName: 'Ada' });
    expect(content.subject).to.equal('Order Confirmed - #1001');
    for (const body of [content.htmlBody, content.textBody]) {
      for (const fact of [
        'Ada',
        '#1001',
        'November 20, 2026',
        'Walnut desk',
        '$349.50',
        'Brass lamp',
        '$45.00',
        '$439.50',
        '12 Mill Lane',
        'Springfield, IL 62701',
        'https://store.example/orders/1001',
      ]) {
        expect(body).to.include(fact);
      }
    }
  });

  it('order_confirmation writes money and dates as in the recipient locale', () => {
    const { content, locale } = render('order_confirmation', 'email', { locale: 'pt-BR' });
    expect(locale).to.equal('pt');
    expect(content.subject).to.equal('Pedido confirmado - #1001');
    expect(content.textBody).to.include('US$\u00a0439,50').and.include('20 de novembro de 2026');
  });

  it('order_shipped tells the number and the link in one text message', () => {
    expect(render('order_shipped', 'sms', {}).content).to.deep.equal({
      smsBody: 'Your order #1001 has shipped! Track it: https://store.example/t/1001',
    });
    expect(render('order_shipped', 'sms', { locale: 'pt' }).content.smsBody)
      .to.include('#1001')
      .and.include('https://store.example/t/1001');
  });

  it('password_reset holds the link, in HTML and in text', () => {
    const { content } = render('password_reset', 'email', {});
    expect(content.subject).to.equal('Reset your password');
    expect(content.htmlBody).to.include('<a href="https://store.example/reset/3f9a">');
    expect(content.textBody).to.include('https://store.example/reset/3f9a').and.include('1 hour');
  });

  it('put the body of a mail into the design of the store', () => {
    const { htmlBody } = render('password_reset', 'email', { locale: 'pt' }).content;
    expect(htmlBody).to.match(/^<!DOCTYPE html>\n<html lang="pt">/);
    expect(htmlBody).to.include('<title>Redefina a sua senha</title>');
    expect(htmlBody).to.include('<strong>Fern &amp; Co</strong>');
    expect(htmlBody).to.include('solid #1f4b99');
    expect(htmlBody).to.include('&copy; 2026 <a href="https://fern.example"');
    expect(htmlBody).to.not.include('&lt;p&gt;');
  });

  it('are told apart by a version that all variants of a template share', () => {
    const versions = all.map(({ id, version }) => `${id} ${version}`);
    expect(new Set(versions).size).to.equal(3);
    for (const { version } of all) expect(version).to.match(/^[0-9a-f]{12}$/);
  });
});
