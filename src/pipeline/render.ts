/** From what the caller asked for to what is sent: the caller's own content as it is, or a template with the data. */
import type { Content, JsonObject, NotificationSpec, RenderedContent, SmsOptions } from '../domain/notification.ts';
import { smsSize } from '../domain/sms.ts';
import { CarillonError } from '../errors.ts';
import type { FieldViolation } from '../errors.ts';
import { checkContent, checkJson, completeContent } from './render-content.ts';
import { RenderError } from './render-error.ts';
import { Formats } from './template-formats.ts';
import type { Template } from './template.ts';
import type { Templates } from './templates.ts';

const DEFAULT_TIME_ZONE = 'UTC';

export interface RendererOptions {
  readonly templates: Pick<Templates, 'find'>;
  readonly storeName: string;
  readonly storeUrl: string;
  /** BCP 47; for recipients that have none. */
  readonly defaultLocale: string;
}

/** Where a notification's content comes from. A webhook needs neither content nor a template. */
type Source =
  | { readonly kind: 'content'; readonly content: Content }
  | { readonly kind: 'template'; readonly template: Template }
  | { readonly kind: 'data' }
  | { readonly kind: 'none' };

/** The body that Standard Webhooks recommends. Made of the spec alone, so that every try sends the same bytes. */
function webhookBody(spec: NotificationSpec): JsonObject {
  return { type: spec.type, timestamp: new Date(spec.createdAt).toISOString(), data: spec.data ?? {} };
}

function withWebhookBody(spec: NotificationSpec, content: Content): Content {
  return content.webhookBody === undefined ? { ...content, webhookBody: webhookBody(spec) } : content;
}

const templateName = (spec: NotificationSpec): string => spec.templateId ?? spec.type;

export class Renderer {
  readonly #options: RendererOptions;
  readonly #formats = new Formats();

  constructor(options: RendererOptions) {
    this.#options = options;
  }

  /**
   * What `render` needs is there and fits: asked when a notification is accepted, so that the caller learns of it.
   * @throws CarillonError TEMPLATE_NOT_FOUND, TEMPLATE_DATA_INVALID or INVALID_FIELD with the violations.
   */
  check(spec: NotificationSpec): void {
    const source = this.#source(spec);
    if (source.kind === 'none') {
      const name = templateName(spec);
      throw new CarillonError('TEMPLATE_NOT_FOUND', `there is no template ${name} for ${spec.channel}`, {
        metadata: { template: name, channel: spec.channel },
      });
    }
    const fields = [
      ...this.#checkPlace(spec),
      ...(spec.data === undefined ? [] : checkJson('notification.data', spec.data)),
      ...(source.kind === 'content' ? contentViolations(spec, source.content) : []),
    ];
    if (fields.length > 0) throw refused('INVALID_FIELD', fields);
    const data = source.kind === 'template' ? source.template.checkData(spec.data ?? {}) : [];
    if (data.length > 0) throw refused('TEMPLATE_DATA_INVALID', data);
  }

  /** @throws RenderError */
  render(spec: NotificationSpec, now: number): RenderedContent {
    const source = this.#source(spec);
    switch (source.kind) {
      case 'content':
        return { ...this.#complete(spec, source.content), renderedAt: now };
      case 'data':
        return { content: { webhookBody: webhookBody(spec) }, renderedAt: now };
      case 'template':
        return this.#renderTemplate(spec, source.template, now);
      case 'none':
        throw new RenderError(`there is no template ${templateName(spec)} for ${spec.channel} any more`);
    }
  }

  #source(spec: NotificationSpec): Source {
    const { channel, content } = spec;
    if (content) return { kind: 'content', content };
    if (channel === 'webhook') return { kind: 'data' };
    const template = this.#options.templates.find(templateName(spec), channel, this.#locale(spec));
    return template ? { kind: 'template', template } : { kind: 'none' };
  }

  #locale(spec: NotificationSpec): string {
    return spec.recipient.locale ?? this.#options.defaultLocale;
  }

  #complete(spec: NotificationSpec, content: Content): Sized {
    const [violation] = checkContent(spec.channel, content, smsType(spec));
    if (violation) throw new RenderError(`content.${violation.field} ${violation.description}`);
    const complete = completeContent(
      spec.channel,
      spec.channel === 'webhook' ? withWebhookBody(spec, content) : content,
    );
    return sized(spec, complete);
  }

  #renderTemplate(spec: NotificationSpec, template: Template, now: number): RenderedContent {
    const { storeName, storeUrl } = this.#options;
    const content = template.render({
      data: spec.data ?? {},
      recipient: spec.recipient,
      locale: this.#locale(spec),
      timeZone: spec.recipient.timeZone ?? DEFAULT_TIME_ZONE,
      storeName,
      storeUrl,
      now,
    });
    const { id, version, locale } = template;
    return { ...sized(spec, content, id), templateId: id, templateVersion: version, locale, renderedAt: now };
  }

  /** Numbers and dates are written for the recipient's locale and time zone, which Intl has to know. */
  #checkPlace({ recipient: { locale, timeZone } }: NotificationSpec): FieldViolation[] {
    const isKnown = (make: () => unknown): boolean => {
      try {
        make();
        return true;
      } catch (thrown) {
        if (thrown instanceof RangeError) return false;
        throw thrown;
      }
    };
    const violations: FieldViolation[] = [];
    if (locale !== undefined && !isKnown(() => this.#formats.plural(locale))) {
      violations.push({ field: 'notification.recipient.locale', description: 'must be a BCP 47 language tag' });
    }
    if (timeZone !== undefined && !isKnown(() => this.#formats.date('en', { timeZone }))) {
      violations.push({ field: 'notification.recipient.time_zone', description: 'must be an IANA time zone' });
    }
    return violations;
  }
}

type Sized = Pick<RenderedContent, 'content' | 'sms'>;

const smsType = (spec: NotificationSpec): SmsOptions['type'] => spec.sms?.type ?? 'auto';

/**
 * The content with its size, where it is a text message.
 *
 * @param source what it was made from
 */
function sized(spec: NotificationSpec, content: Content, source?: string): Sized {
  if (spec.channel !== 'sms') return { content };
  const sms = smsSize(content.smsBody ?? '', smsType(spec));
  if ('fault' in sms) throw new RenderError(`sms_body ${sms.fault}`, source === undefined ? {} : { source });
  return { content, sms };
}

function contentViolations(spec: NotificationSpec, content: Content): FieldViolation[] {
  return checkContent(spec.channel, content, smsType(spec)).map(({ field, description }) => ({
    field: `notification.content.${field}`,
    description,
  }));
}

function refused(
  reason: 'INVALID_FIELD' | 'TEMPLATE_DATA_INVALID',
  violations: readonly FieldViolation[],
): CarillonError {
  const message = violations.map(({ field, description }) => `${field}: ${description}`).join('; ');
  return new CarillonError(reason, message, { violations });
}
