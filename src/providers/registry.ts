/** Every provider there is. A new one costs its own file, its test, a line here and a line in docs/providers.md. */
export { capture } from './capture.ts';
export { smtp, smtpFallback } from './email/smtp.ts';
export { store } from './in-app/store.ts';
export { http } from './webhook/http.ts';
export { custom } from './sms/custom.ts';
export { mailgun } from './email/mailgun.ts';
export { onesignal } from './push/onesignal.ts';
export { apns } from './push/apns.ts';
export { fcm } from './push/fcm.ts';
export { slackWebhook } from './slack/webhook.ts';
export { slackApi } from './slack/api.ts';
export { discord } from './discord/webhook.ts';
export { ses } from './email/ses.ts';
export { sns } from './sms/sns.ts';
export { webPush } from './push/web-push.ts';
export { twilio } from './sms/twilio.ts';
export { vonage } from './sms/vonage.ts';
export { sendgrid } from './email/sendgrid.ts';
