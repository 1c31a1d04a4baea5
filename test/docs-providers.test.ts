import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { CHANNELS } from '../src/domain/notification.ts';
import { RECEIPT_KINDS } from '../src/domain/receipt.ts';
import type { ProviderDefinition } from '../src/providers/definition.ts';
import { listOf } from '../src/providers/json.ts';
import * as registry from '../src/providers/registry.ts';
import { custom } from '../src/providers/sms/custom.ts';
import { signatureHeaders, signingKey } from '../src/providers/webhook/signature.ts';
import { KEY } from './providers/conformance.ts';
import { sms } from './providers/messages.ts';
import { openProvider } from './providers/open-provider.ts';
import { startHttp } from './support/start-http.ts';

const LINES = readFileSync(join(import.meta.dirname, '..', 'docs', 'providers.md'), 'utf8').split('\n');
const DEFINITIONS: readonly ProviderDefinition[] = Object.values(registry);

/** The cells of the rows of the table with this head; empty when there is none. */
function table(head: string): readonly (readonly string[])[] {
  const start = LINES.findIndex((line) => line.startsWith(head));
  const rest = start === -1 ? [] : LINES.slice(start + 2);
  const end = rest.findIndex((line) => !line.startsWith('|'));
  return rest.slice(0, end).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const words = (cell = ''): readonly string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? '');
const PROVIDERS = table('| name |');

describe('docs/providers.md', () => {
  it('has one line for each provider, and none for one that does not exist', () => {
    expect(PROVIDERS.flatMap(([name]) => words(name))).to.have.members(DEFINITIONS.map(({ name }) => name));
  });

  it('names the channels of each', () => {
    const documented = PROVIDERS.map(([name, channels]) => [words(name)[0], channels]);
    const told = ({ channels }: ProviderDefinition): string =>
      channels.length === CHANNELS.length ? 'every channel' : channels.join(', ');
    expect(Object.fromEntries(documented)).to.deep.equal(
      Object.fromEntries(DEFINITIONS.map((one) => [one.name, told(one)])),
    );
  });

  it('leaves no cell of a line empty', () => {
    expect(PROVIDERS.filter((cells) => cells.length !== 6 || cells.includes(''))).to.deep.equal([]);
  });

  it('has a section for each, of its own or with the one it is a second of', () => {
    const sections = LINES.filter((line) => line.startsWith('### ')).map((line) => line.slice(4));
    const told = DEFINITIONS.map(({ name }) => name).filter((name) => name !== 'smtp_fallback');
    expect(sections).to.include.members(told);
  });

  it('says of every kind of receipt what it does, and of none that does not exist', () => {
    expect(table('| Kind |').flatMap(([kinds]) => words(kinds))).to.have.members([...RECEIPT_KINDS]);
  });
});

describe('the contract of an SMS service in docs/providers.md', () => {
  const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`;
  const text = LINES.join('\n');
  const [request, callback] = [...text.matchAll(/^```json\n(.*?)^```$/gms)].map(([, json]) => json ?? '');

  it('shows a request with the fields that are sent, and explains each', async () => {
    await using service = await startHttp(() => ({ status: 200, body: '{"message_id":"m-1"}' }));
    await using provider = await openProvider(
      custom,
      { url: service.url, secrets: [SECRET], from: '+15550000001' },
      { callbackUrl: 'https://notify.example.com/callbacks/custom' },
    );
    await provider.send(sms({ expiresAt: Date.now() }), { key: KEY, signal: new AbortController().signal });
    const sent = Object.keys(parsed(service.requests[0]?.body));
    expect(Object.keys(parsed(request))).to.deep.equal(sent);
    expect(table('| Field |').flatMap(([field]) => words(field))).to.deep.equal(sent);
  });

  it('shows a callback that is understood', async () => {
    await using provider = await openProvider(custom, { url: 'http://127.0.0.1:9/', secrets: [SECRET] });
    const now = Date.now();
    const result = await provider.receive?.({
      url: new URL('https://notify.example.com/callbacks/custom'),
      headers: signatureHeaders([signingKey(SECRET)], 'msg_1', now, callback ?? ''),
      body: Buffer.from(callback ?? ''),
      now,
      signal: new AbortController().signal,
    });
    const [receipt] = result?.kind === 'genuine' ? result.receipts : [];
    const { id, notification_id: notificationId, ...same } = parsed(callback, 'events');
    expect(receipt).to.deep.equal({ eventId: id, notificationId, ...same });
  });

  it('lists every kind of receipt', () => {
    const kind = LINES.find((line) => line.startsWith('| `kind` |')) ?? '';
    expect(words(kind)).to.include.members([...RECEIPT_KINDS]);
  });
});

/** An object, or the first of the list in one of its fields. */
function parsed(json: string | undefined, list?: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(json ?? '');
  const found: unknown = list === undefined ? value : listOf(value, list)[0];
  expect(found).to.be.an('object');
  return { ...Object(found) };
}
