/** The providers whose services have a library: against that, as its own documentation uses it, with the same message. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { composeMail } from '../../src/providers/email/smtp-mail.ts';
import { sendgrid } from '../../src/providers/email/sendgrid.ts';
import { sendgridMail } from '../../src/providers/email/sendgrid-mail.ts';
import { ses } from '../../src/providers/email/ses.ts';
import { sesMail } from '../../src/providers/email/ses-mail.ts';
import { smtp } from '../../src/providers/email/smtp.ts';
import { apns } from '../../src/providers/push/apns.ts';
import { webPush } from '../../src/providers/push/web-push.ts';
import { sns } from '../../src/providers/sms/sns.ts';
import { twilio } from '../../src/providers/sms/twilio.ts';
import { vonage } from '../../src/providers/sms/vonage.ts';
import { email, push, sms } from '../../test/providers/messages.ts';
import { makeKeys } from '../../test/providers/push/web-push-keys.ts';
import { sampleMail } from '../sample-mail.ts';
import { IN_FLIGHT, type Contest, type Doubles, type Subject } from './subject.ts';

const SENDER = { email: 'shop@example.org', name: 'Shop' };
const NUMBER = '+15550000001';
const AWS = {
  region: 'eu-west-1',
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE',
};
const TWILIO = { accountSid: 'ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', authToken: 'a-token-that-nobody-may-see' };
/** Without an application: to sign each call with its key would be most of both figures. */
const VONAGE = { apiKey: 'abcd1234', apiSecret: 'api-secret-that-nobody-may-see' };
const SMTP_CONNECTIONS = 5;

export const LIBRARY_SUBJECTS: readonly Subject[] = [
  { definition: smtp, prepare: prepareSmtp },
  { definition: sendgrid, prepare: prepareSendgrid },
  { definition: ses, prepare: prepareSes },
  { definition: twilio, prepare: prepareTwilio },
  { definition: sns, prepare: prepareSns },
  { definition: vonage, prepare: prepareVonage },
  { definition: apns, prepare: prepareApns },
  { definition: webPush, prepare: prepareWebPush },
];

async function prepareSmtp({ smtpPort }: Doubles): Promise<Contest> {
  const { createTransport } = await import('nodemailer');
  const host = '127.0.0.1';
  const transport = createTransport({
    host,
    port: smtpPort,
    ignoreTLS: true,
    pool: true,
    maxConnections: SMTP_CONNECTIONS,
    maxMessages: Infinity,
  });
  const message = email(await sampleMail());
  const { from, to, subject, html, text } = composeMail(message, SENDER, '');
  return {
    settings: { host, port: smtpPort, ignoreTls: true, maxConnections: SMTP_CONNECTIONS },
    message,
    against: { 'nodemailer, pooled': () => transport.sendMail({ from, to, subject, html, text }) },
    close: () => transport.close(),
  };
}

async function prepareSendgrid({ http }: Doubles): Promise<Contest> {
  const { default: library } = await import('@sendgrid/mail');
  const { default: client } = await import('@sendgrid/client');
  const apiKey = 'SG.a-key-of-the-shop.and-its-secret-part';
  const baseUrl = `${http}/sendgrid`;
  client.setApiKey(apiKey);
  client.setDefaultRequest('baseUrl', baseUrl);
  library.setClient(client);
  const message = email(await sampleMail());
  const mail = sendgridMail(message, SENDER, { trackOpens: false, trackClicks: false });
  return { settings: { baseUrl, apiKey }, message, against: { '@sendgrid/mail': () => library.send(mail) } };
}

async function prepareSes({ http }: Doubles): Promise<Contest> {
  const { SESv2Client, SendEmailCommand } = await import('@aws-sdk/client-sesv2');
  const { region, ...credentials } = AWS;
  const endpoint = `${http}/ses`;
  const client = new SESv2Client({ region, credentials, endpoint, maxAttempts: 1 });
  const message = email(await sampleMail());
  const input = sesMail(message, SENDER);
  return {
    settings: { ...AWS, baseUrl: endpoint },
    message,
    against: { '@aws-sdk/client-sesv2': () => client.send(new SendEmailCommand(input)) },
    close: () => client.destroy(),
  };
}

async function prepareSns({ http }: Doubles): Promise<Contest> {
  const { SNSClient, PublishCommand } = await import('@aws-sdk/client-sns');
  const { region, ...credentials } = AWS;
  const endpoint = `${http}/sns`;
  const client = new SNSClient({ region, credentials, endpoint, maxAttempts: 1 });
  const message = sms();
  const input = {
    PhoneNumber: message.to,
    Message: message.text,
    MessageAttributes: {
      'AWS.SNS.SMS.SMSType': { DataType: 'String', StringValue: 'Transactional' },
      'AWS.MM.SMS.OriginationNumber': { DataType: 'String', StringValue: NUMBER },
    },
  };
  return {
    settings: { ...AWS, baseUrl: endpoint },
    message,
    against: { '@aws-sdk/client-sns': () => client.send(new PublishCommand(input)) },
    close: () => client.destroy(),
  };
}

async function prepareTwilio({ http }: Doubles): Promise<Contest> {
  const { default: library } = await import('twilio');
  const baseUrl = `${http}/twilio`;
  const client = library(TWILIO.accountSid, TWILIO.authToken);
  // The library has no setting for it.
  client.api.baseUrl = baseUrl;
  const message = sms();
  const { to, text: body } = message;
  return {
    settings: { ...TWILIO, baseUrl },
    message,
    against: { twilio: () => client.messages.create({ to, from: NUMBER, body, smartEncoded: false }) },
  };
}

async function prepareVonage({ http }: Doubles): Promise<Contest> {
  const { Vonage } = await import('@vonage/server-sdk');
  const baseUrl = `${http}/vonage`;
  // Without a text for the key the library asks the file system for a file named undefined.
  const { messages } = new Vonage({ ...VONAGE, applicationId: '', privateKey: '' }, { apiHost: baseUrl });
  const message = sms();
  const text = {
    channel: 'sms',
    messageType: 'text',
    to: message.to.slice(1),
    from: NUMBER.slice(1),
    text: message.text,
    clientRef: message.notificationId,
    sms: { encodingType: 'text' },
  } as const;
  return {
    settings: { ...VONAGE, baseUrl },
    message,
    against: { '@vonage/server-sdk': () => messages.send(text) },
  };
}

async function prepareApns({ tls }: Doubles): Promise<Contest> {
  const { ApnsClient, Notification } = await import('apns2');
  const { Pool } = await import('undici');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyFile = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const team = { teamId: 'TEAM123456', keyId: 'KEY1234567', topic: 'org.example.shop' };
  const client = new ApnsClient({
    team: team.teamId,
    keyId: team.keyId,
    signingKey: keyFile,
    defaultTopic: team.topic,
  });
  await client.destroy();
  // The library goes to port 443 only. As many connections and streams as its own pool has.
  const pool = new Pool(tls, { connections: 32, pipelining: 1, allowH2: true, maxConcurrentStreams: 100 });
  Object.assign(client, { client: pool });
  const device = { kind: 'apns', token: 'ab'.repeat(32) } as const;
  const message = push(device);
  const { title, body, icon, data, actions } = message.push;
  const options = { alert: { title, body }, badge: 3, data: { icon, data, actions } };
  return {
    settings: { ...team, keyFile, baseUrl: tls },
    message,
    against: { apns2: () => client.send(new Notification(device.token, options)) },
    close: () => void pool.destroy(),
  };
}

async function prepareWebPush({ tls }: Doubles): Promise<Contest> {
  const { default: library } = await import('web-push');
  const { Agent } = await import('node:https');
  const vapidDetails = { subject: 'mailto:push@example.org', ...makeKeys() };
  const keys = { p256dh: makeKeys().publicKey, auth: randomBytes(16).toString('base64url') };
  const endpoint = `${tls}/web_push/gAAAAABn-the-subscription-of-one-browser`;
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const message = push({ kind: 'web_push', token: endpoint, ...keys });
  const payload = JSON.stringify(message.push);
  return {
    settings: { ...vapidDetails, allowPrivate: ['127.0.0.1'] },
    message,
    against: { 'web-push': () => library.sendNotification({ endpoint, keys }, payload, { vapidDetails, agent }) },
    close: () => agent.destroy(),
  };
}
