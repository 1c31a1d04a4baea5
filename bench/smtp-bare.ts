/** A bare nodemailer pool, as the SMTP provider has it: `node bench/smtp-bare.ts PORT COUNT CONNECTIONS` prints mails per second. */
import { createTransport } from 'nodemailer';
import { rateOf } from './measure.ts';

const [port, count, connections] = process.argv.slice(2).map(Number);
const transport = createTransport({
  host: '127.0.0.1',
  port,
  ignoreTLS: true,
  pool: true,
  maxConnections: connections ?? 5,
  maxMessages: Infinity,
});
const mail = {
  from: 'noreply@shop.example',
  to: 'ada@example.com',
  subject: 'Reset your password',
  text: 'Hi Ada, click the link to reset your password. '.repeat(5),
  html: '<p>Hi Ada, click the link to reset your password.</p>'.repeat(20),
};
const perSecond = await rateOf(count ?? 1_000, 50, () => transport.sendMail(mail));
transport.close();
process.stdout.write(`${JSON.stringify({ perSecond })}\n`);
