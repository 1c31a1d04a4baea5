/** SMS over Amazon SNS. It has no idempotency key and calls nobody back: what became of a text is in CloudWatch only. */
import type { MessageAttributeValue, PublishCommandInput } from '@aws-sdk/client-sns';
import { isImportant } from '../../domain/notification.ts';
import { AWS_SETTINGS, AwsApi, awsFaults, type AwsResult, type Refused } from '../aws-api.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import type { Provider, SendResult, SmsMessage } from '../provider.ts';
import { text, word, type SettingsOf } from '../settings.ts';

const SECTION = 'notifications.sms.sns';

const SETTINGS = {
  ...AWS_SETTINGS,
  from: text('Sender. Empty: notifications.default_sms_sender.'),
  smsType: word('Route of normal and low priority; urgent and high ones are always transactional.', 'transactional', [
    'transactional',
    'promotional',
  ]),
  maxPrice: text(
    'Most that one message may cost, in US dollars, such as 0.50. Empty: no limit but that of the account.',
  ),
};
type SnsSettings = SettingsOf<typeof SETTINGS>;

export const sns = defineProvider({
  name: 'sns',
  channels: ['sms'],
  doc: 'Amazon SNS. It tells nobody what became of a message: that is in CloudWatch.',
  settings: SETTINGS,
  faults: (settings) => {
    const faults = awsFaults(SECTION, settings);
    if (!/^(\d+(\.\d+)?)?$/.test(settings.maxPrice ?? ''))
      faults.push(`${SECTION}.max_price must be a number such as 0.50`);
    return faults;
  },
  open: openSns,
});

async function openSns(settings: SnsSettings, context: OpenContext): Promise<Provider<SmsMessage>> {
  const { SNSClient, PublishCommand, GetSMSAttributesCommand } = await import('@aws-sdk/client-sns');
  const aws = new AwsApi('sns', settings, context.clock);
  const client = new SNSClient(aws.clientConfig);

  return {
    name: context.name,
    channel: 'sms',
    async send(message, call) {
      if (message.coding === 'binary') {
        return {
          outcome: 'permanent_failure',
          code: 'type_unsupported',
          detail: 'SNS sends text only',
          notAsked: true,
        };
      }
      const sender = message.from ?? settings.from ?? context.senders.sms;
      const command = new PublishCommand(publication(message, sender, settings));
      return outcomeOf(aws, await aws.call((options) => client.send(command, options), call.signal));
    },
    async check(signal) {
      const result = await aws.call((options) => client.send(new GetSMSAttributesCommand({}), options), signal);
      // The library takes any 200 for an answer with nothing set.
      const isForeign = result.kind === 'answered' && !result.answer.body.includes('<GetSMSAttributesResponse');
      return isForeign ? { ok: false, detail: 'the answer cannot be read' } : aws.checkOf(result);
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      await aws[Symbol.asyncDispose]();
    },
  };
}

function publication(message: SmsMessage, sender: string | undefined, settings: SnsSettings): PublishCommandInput {
  const { to, text: words, priority } = message;
  const transactional = isImportant(priority) || settings.smsType === 'transactional';
  const { maxPrice } = settings;
  return {
    PhoneNumber: to,
    Message: words,
    MessageAttributes: {
      'AWS.SNS.SMS.SMSType': stringAttribute(transactional ? 'Transactional' : 'Promotional'),
      ...(sender === undefined ? {} : { [senderKey(sender)]: stringAttribute(sender) }),
      ...(maxPrice === undefined ? {} : { 'AWS.SNS.SMS.MaxPrice': { DataType: 'Number', StringValue: maxPrice } }),
    },
  };
}

const stringAttribute = (value: string): MessageAttributeValue => ({ DataType: 'String', StringValue: value });

/** A name has a letter; a number and a short code have none. */
const senderKey = (sender: string): string =>
  /\p{L}/u.test(sender) ? 'AWS.SNS.SMS.SenderID' : 'AWS.MM.SMS.OriginationNumber';

function outcomeOf(aws: AwsApi, result: AwsResult<{ MessageId?: string | undefined }>): SendResult {
  if (result.kind === 'none') return result.result;
  if (result.kind === 'refused') return refusalOf(aws, result);
  const { answer, output } = result;
  if (!output.MessageId) return aws.http.unreadable(answer);
  return { outcome: 'sent', code: String(answer.status), messageId: output.MessageId };
}

function refusalOf(aws: AwsApi, refused: Refused): SendResult {
  const { name = '', message = '' } = refused;
  const told = aws.http.told(name, message);
  if (name === 'OptedOutException') return { outcome: 'invalid_recipient', ...told, suppress: 'unsubscribed' };
  if (name === 'InvalidParameterException') {
    // Which parameter it is stands in the words only.
    return { outcome: /\bPhoneNumber\b/.test(message) ? 'invalid_recipient' : 'permanent_failure', ...told };
  }
  if (name === 'AuthorizationErrorException' || name === 'ValidationException' || name.startsWith('KMS')) {
    return { outcome: 'provider_error', ...told };
  }
  return aws.outcomeOf(refused);
}
