/**
 * A bare nodemailer pool, as the SMTP provider has it, with the very mail of the load generator:
 * `node bench/smtp-bare.ts PORT COUNT CONNECTIONS` prints mails per second.
 */
import { createTransport } from 'nodemailer';
import { systemRandom } from '../src/domain/id.ts';
import { Renderer } from '../src/pipeline/render.ts';
import { resolve } from '../src/pipeline/resolve.ts';
import { loadTemplates } from '../src/pipeline/templates.ts';
import { toRequest } from '../src/rpc/convert.ts';
import { sampleRequest } from './load.ts';
import { rateOf } from './measure.ts';

async function mail(): Promise<{ subject?: string; html?: string; text?: string }> {
  await using templates = await loadTemplates('templates');
  const renderer = new Renderer({ templates, storeName: '', storeUrl: '', defaultLocale: 'en' });
  const { notification } = sampleRequest();
  if (!notification) throw new Error('the sample has a notification');
  const now = Date.now();
  const ids = { tenant: 'default', groupId: systemRandom.id(now), ids: [systemRandom.id(now)] };
  const [spec] = resolve(toRequest(notification), ids, now, () => {});
  if (!spec) throw new Error('the sample has a channel');
  const { subject = '', htmlBody = '', textBody = '' } = renderer.render(spec, now).content;
  return { subject, html: htmlBody, text: textBody };
}

const [port, count, connections] = process.argv.slice(2).map(Number);
const transport = createTransport({
  host: '127.0.0.1',
  port,
  ignoreTLS: true,
  pool: true,
  maxConnections: connections ?? 5,
  maxMessages: Infinity,
});
const message = { from: 'noreply@shop.example', to: 'ada@example.com', ...(await mail()) };
const perSecond = await rateOf(count ?? 1_000, 50, () => transport.sendMail(message));
transport.close();
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
