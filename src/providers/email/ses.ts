/** E-mail over Amazon SES (API v2). SES knows no idempotency key: a repeat after an unknown outcome is a second mail. */
import { HOUR, SECOND } from '../../domain/clock.ts';
import { AWS_SETTINGS, AwsApi, awsFaults, type AwsResult, type Refused } from '../aws-api.ts';
import { SnsInbox, type Fetch } from '../aws-sns-inbox.ts';
import { defineProvider, type OpenContext, type ProviderDefinition, type Senders } from '../definition.ts';
import { HttpApi } from '../http-api.ts';
import type { CallbackRequest, CallbackResult, Check, EmailMessage, Provider, SendResult } from '../provider.ts';
import { text, texts, type SettingsOf } from '../settings.ts';
import { isUsableInText, neededSender, SENDER_SETTINGS, senderFaults, unusableAddress } from './message.ts';
import { receiptsOf } from './ses-events.ts';

const SECTION = 'notifications.email.ses';

const SETTINGS = {
  ...AWS_SETTINGS,
  configurationSet: text(
    'Configuration set of every mail. Its event destination decides which events come back, and it alone switches the tracking of opens and clicks on.',
  ),
  ...SENDER_SETTINGS,
  topicArns: texts(
    'SNS topics whose callbacks are believed and whose subscriptions are confirmed. With none, every callback is refused. Raw message delivery must be off, as it leaves the signature out.',
  ),
};
type SesSettings = SettingsOf<typeof SETTINGS>;

/** What is wrong with the account or its set-up, not with the message. */
const PROVIDER_ERRORS = new Set([
  'AccountSuspendedException',
  'MailFromDomainNotVerifiedException',
  // Of SendEmail it is the configuration set that is not found.
  'NotFoundException',
  'SendingPausedException',
]);
/** The daily quota is over 24 hours up to now: it comes back bit by bit. Milliseconds. */
const QUOTA_WAIT = HOUR;

export const ses = defineSes();

/**
 * What strangers can make us fetch has connections of its own, so that it cannot hold up mail. It is AWS's own hosts in any
 * case, whatever stands in for SES.
 */
const INBOX = { baseUrl: 'https://sns.amazonaws.com', timeout: 5 * SECOND, maxConcurrent: 4, secrets: [] };

/** @param fetch how certificates are fetched and subscriptions confirmed; from AWS unless given */
export function defineSes(fetch?: Fetch): ProviderDefinition {
  return defineProvider({
    name: 'ses',
    channels: ['email'],
    doc: 'Amazon SES (API v2). Events come over SNS, to the address that docs/providers.md tells.',
    settings: SETTINGS,
    faults: sesFaults,
    open: (settings, context) => openSes(settings, context, fetch),
  });
}

function sesFaults(settings: SesSettings, senders: Senders): string[] {
  const faults = [...awsFaults(SECTION, settings), ...senderFaults(SECTION, settings, senders)];
  if (!settings.topicArns.every((arn) => /^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+$/.test(arn))) {
    faults.push(`${SECTION}.topic_arns must be names such as arn:aws:sns:eu-west-1:123456789012:mail-events`);
  }
  return faults;
}

async function openSes(settings: SesSettings, context: OpenContext, fetch?: Fetch): Promise<Provider<EmailMessage>> {
  const sender = neededSender(settings, context.senders);
  const { SESv2Client, SendEmailCommand, GetAccountCommand } = await import('@aws-sdk/client-sesv2');
  // It needs a part of nodemailer.
  const { sesMail } = await import('./ses-mail.ts');
  const aws = new AwsApi('email', settings, context.clock);
  const client = new SESv2Client(aws.clientConfig);
  const sns = new HttpApi({ ...INBOX, clock: context.clock });
  const inbox = new SnsInbox(
    settings.topicArns,
    fetch ?? ((url, signal) => sns.call({ method: 'GET', path: url }, signal)),
  );

  return {
    name: context.name,
    channel: 'email',
    async send(message, call) {
      const from = message.from ?? sender;
      const refused = unusableAddress(message, from, isUsableInText);
      if (refused !== undefined) return refused;
      const command = new SendEmailCommand(sesMail(message, from, settings.configurationSet));
      const result = await aws.call((options) => client.send(command, options), call.signal);
      return outcomeOf(aws, result, message.to);
    },
    async check(signal) {
      return accountCheck(aws, await aws.call((options) => client.send(new GetAccountCommand({}), options), signal));
    },
    receive: (request) => receive(inbox, request),
    async [Symbol.asyncDispose]() {
      client.destroy();
      await Promise.all([sns[Symbol.asyncDispose](), aws[Symbol.asyncDispose]()]);
    },
  };
}

function outcomeOf(aws: AwsApi, result: AwsResult<{ MessageId?: string | undefined }>, to: string): SendResult {
  if (result.kind === 'none') return result.result;
  if (result.kind === 'refused') return refusalOf(aws, result, to);
  const { answer, output } = result;
  if (!output.MessageId) return aws.http.unreadable(answer);
  return { outcome: 'sent', code: String(answer.status), messageId: output.MessageId };
}

function refusalOf(aws: AwsApi, refused: Refused, to: string): SendResult {
  const { answer, name = '', message = '' } = refused;
  const told = aws.http.told(name, message);
  const { wait } = answer;
  if (PROVIDER_ERRORS.has(name)) return { outcome: 'provider_error', ...told };
  if (name === 'TooManyRequestsException') return { outcome: 'rate_limited', ...told, ...wait };
  if (name === 'LimitExceededException') return { outcome: 'rate_limited', ...told, retryAfterMs: QUOTA_WAIT, ...wait };
  if (name === 'MessageRejected') {
    // An identity that is not verified, or a sandbox, has no name of its own: SES tells it in words only.
    return { outcome: /not verified/i.test(message) ? 'provider_error' : 'permanent_failure', ...told };
  }
  if (name === 'BadRequestException') {
    // Nor has a recipient that cannot be: the words name the address or they do not.
    const named = message.toLowerCase().includes(to.toLowerCase());
    return { outcome: named ? 'invalid_recipient' : 'permanent_failure', ...told };
  }
  return aws.outcomeOf(refused);
}

interface Account {
  readonly SendingEnabled?: boolean | undefined;
  readonly ProductionAccessEnabled?: boolean | undefined;
}

function accountCheck(aws: AwsApi, result: AwsResult<Account>): Check {
  if (result.kind !== 'answered') return aws.checkOf(result);
  const { SendingEnabled, ProductionAccessEnabled } = result.output;
  if (SendingEnabled === undefined) return { ok: false, detail: 'the answer cannot be read' };
  if (!SendingEnabled) return { ok: false, detail: 'the account is kept from sending' };
  if (ProductionAccessEnabled === false) return { ok: true, detail: 'a sandbox: it sends to verified addresses only' };
  return aws.checkOf(result);
}

async function receive(inbox: SnsInbox, request: CallbackRequest): Promise<CallbackResult> {
  const opened = await inbox.open(request);
  if (opened.kind === 'refused') return opened;
  return { kind: 'genuine', receipts: opened.kind === 'notification' ? receiptsOf(opened) : [] };
}
