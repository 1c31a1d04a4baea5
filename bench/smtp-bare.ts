/**
 * A bare nodemailer pool, as the SMTP provider has it, with the very mail of the load generator:
 * `node bench/smtp-bare.ts PORT COUNT CONNECTIONS` prints mails per second.
 */
import { createTransport } from 'nodemailer';
import { rateOf } from './measure.ts';
import { sampleMail } from './sample-mail.ts';

const [port, count, connections] = process.argv.slice(2).map(Number);
const transport = createTransport({
  host: '127.0.0.1',
  port,
  ignoreTLS: true,
  pool: true,
  maxConnections: connections ?? 5,
  maxMessages: Infinity,
});
const message = { from: 'noreply@shop.example', to: 'ada@example.com', ...(await sampleMail()) };
const perSecond = await rateOf(count ?? 1_000, 50, () => transport.sendMail(message));
transport.close();
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
