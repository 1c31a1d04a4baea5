/** One template in one locale for one channel, and what it is rendered with. */
import type { Content, JsonObject, Recipient } from '../domain/notification.ts';
import type { FieldViolation } from '../errors.ts';
import { checkContent, completeContent } from './render-content.ts';
import { RenderError } from './render-error.ts';
import type { Design } from './template-design.ts';
import type { Part, TemplateEngine } from './template-engine.ts';
import type { Folder, PartName, TemplateChannel } from './template-folder.ts';
import type { DataCheck } from './template-schema.ts';
import { RenderState } from './template-state.ts';

export interface RenderInput {
  readonly data: JsonObject;
  readonly recipient: Recipient;
  /** For numbers, money and dates: the recipient's own, or the service's default. */
  readonly locale: string;
  readonly timeZone: string;
  readonly storeName: string;
  readonly storeUrl: string;
  readonly now: number;
}

/** A template in one locale, for one channel. */
export interface Template {
  /** Its name: `order_confirmation`. */
  readonly id: string;
  readonly version: string;
  readonly locale: string;
  readonly channel: TemplateChannel;
  readonly description: string;
  readonly schema: JsonObject;
  readonly sample: JsonObject;
  /** What the schema says against the data; none when it fits. */
  checkData(data: JsonObject): readonly FieldViolation[];
  /** @throws RenderError */
  render(input: RenderInput): Content;
}

/** The compiled parts of one channel and locale. */
export interface Variant {
  readonly folder: Folder;
  readonly channel: TemplateChannel;
  readonly locale: string;
  readonly parts: Partial<Record<PartName, Part>>;
}

/** What the variants of a template have in common. */
export interface Shared {
  readonly version: string;
  readonly description: string;
  readonly schema: JsonObject;
  readonly sample: JsonObject;
  readonly check: DataCheck;
  readonly design: Design | undefined;
  readonly engine: TemplateEngine;
}

/** Absent values stay absent, so that `{{#if recipient.first_name}}` and `default` work. */
function variablesOf(input: RenderInput): Record<string, unknown> {
  const { recipient, data } = input;
  return {
    ...data,
    recipient: {
      ...(recipient.id === undefined ? {} : { id: recipient.id }),
      ...(recipient.email === undefined ? {} : { email: recipient.email }),
      ...(recipient.phone === undefined ? {} : { phone: recipient.phone }),
      ...(recipient.firstName === undefined ? {} : { first_name: recipient.firstName }),
      ...(recipient.lastName === undefined ? {} : { last_name: recipient.lastName }),
      locale: input.locale,
      time_zone: input.timeZone,
    },
    store_name: input.storeName,
    store_url: input.storeUrl,
    year: new Date(input.now).getUTCFullYear(),
  };
}

/** One line: what stood on several, or had control characters in its values, could write mail headers. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
}

function renderParts(variant: Variant, { design, engine }: Shared, input: RenderInput): Content {
  const { parts, channel, locale } = variant;
  const place = { locale: input.locale, templateLocale: locale, timeZone: input.timeZone };
  const state = new RenderState(engine.formats, place);
  const variables = variablesOf(input);
  const line = (part: Part | undefined): string | undefined => part && oneLine(part(variables, state));
  const text = parts.text?.(variables, state).trim();
  const subject = line(channel === 'email' ? parts.subject : parts.title);
  if (channel === 'sms') return { smsBody: text ?? '' };
  if (channel === 'push') return { push: { title: subject ?? '', body: text ?? '', actions: [] } };
  const html = parts.html?.(variables, state);
  const { recipient, store_name, store_url, year } = variables;
  const globals = { recipient, store_name, store_url, year, locale, subject: subject ?? '' };
  const htmlBody = html === undefined || !design ? html : design.wrap(html, globals, state);
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(htmlBody === undefined ? {} : { htmlBody }),
    ...(text === undefined ? {} : { textBody: text }),
  };
}

export function createTemplate(variant: Variant, shared: Shared): Template {
  const { folder, channel, locale } = variant;
  const { version, description, schema, sample, check } = shared;
  return {
    id: folder.name,
    version,
    locale,
    channel,
    description,
    schema,
    sample,
    checkData: check,
    render(input) {
      const content = renderParts(variant, shared, input);
      const [violation] = checkContent(channel, content);
      if (violation) {
        const source = `${folder.path}/${channel}.${locale}`;
        throw new RenderError(`${violation.field} ${violation.description}`, { source });
      }
      return completeContent(channel, content);
    },
  };
}
