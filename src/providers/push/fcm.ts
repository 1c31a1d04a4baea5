import { CarillonError } from '../../errors.ts';
import { defineProvider, type OpenContext } from '../definition.ts';
import { HttpApi } from '../http-api.ts';
import type { Provider, PushMessage, SendResult } from '../provider.ts';
import { redactor } from '../redact.ts';
import { httpSettings, neededText, text, url, type SettingsOf } from '../settings.ts';
import { ACCOUNT_SETTING, readServiceAccount } from './fcm-account.ts';
import { messageOf } from './fcm-message.ts';
import { isUnauthenticated, outcomeOf } from './fcm-outcome.ts';

const SETTINGS = {
  serviceAccountFile: neededText('The JSON key of a service account that may send with Firebase Cloud Messaging.', {
    format: 'file',
    secret: true,
  }),
  projectId: text('The Firebase project. Empty: that of the service account.'),
  tokenUrl: url('Where access tokens come from.', 'https://oauth2.googleapis.com/token'),
  ...httpSettings('https://fcm.googleapis.com'),
};

type FcmSettings = SettingsOf<typeof SETTINGS>;

/** Firebase Cloud Messaging, HTTP v1: Android, Apple and browser apps that registered with Firebase. */
export const fcm = defineProvider({
  name: 'fcm',
  channels: ['push'],
  doc: 'Firebase Cloud Messaging: devices registered by a token or an installation id of Firebase.',
  settings: SETTINGS,
  faults: faultsOf,
  open: openFcm,
});

function faultsOf({ serviceAccountFile, projectId }: FcmSettings): readonly string[] {
  // That it must be given is said of every such setting.
  if (serviceAccountFile === '') return [];
  try {
    const account = readServiceAccount(serviceAccountFile);
    if ((projectId ?? account.projectId) !== undefined) return [];
    return [`notifications.push.fcm.project_id must be given, as ${ACCOUNT_SETTING} names no project`];
  } catch (thrown) {
    if (thrown instanceof CarillonError) return [thrown.message];
    throw thrown;
  }
}

/** @throws CarillonError INVALID_FIELD for a file that is not that of a service account */
async function openFcm(settings: FcmSettings, { name, clock }: OpenContext): Promise<Provider<PushMessage>> {
  const { AccessTokens } = await import('./fcm-token.ts');
  const account = readServiceAccount(settings.serviceAccountFile);
  const project = settings.projectId ?? account.projectId ?? '';
  // The key never leaves this process; what does, the token of the moment, is taken out of what is told per call.
  const api = new HttpApi({ ...settings, secrets: [], clock });
  const tokens = new AccessTokens({ api, account, tokenUrl: settings.tokenUrl, clock });

  const post = async (body: string, signal: AbortSignal, again: boolean): Promise<SendResult> => {
    const token = await tokens.get(signal);
    if (token.kind === 'none') return token.result;
    const answer = await api.call(
      {
        method: 'POST',
        path: `/v1/projects/${encodeURIComponent(project)}/messages:send`,
        headers: { authorization: `Bearer ${token.token}`, 'content-type': 'application/json' },
        body,
      },
      signal,
    );
    if (answer.kind === 'unanswered') return answer.result;
    if (isUnauthenticated(answer)) {
      tokens.drop(token);
      // Refused at the door, so nothing was sent: with a token that was revoked early a new one helps.
      if (again) return await post(body, signal, false);
    }
    return outcomeOf(api, answer, redactor([token.token]));
  };

  return {
    name,
    channel: 'push',
    serves: ({ device }) => device?.kind === 'fcm_token' || device?.kind === 'fcm_id',
    async send(message, call) {
      const fields = messageOf(message, clock.now());
      if (fields === undefined) return { outcome: 'permanent_failure', code: 'payload_too_large', notAsked: true };
      return await post(JSON.stringify({ message: fields }), call.signal, true);
    },
    async check(signal) {
      const token = await tokens.request(signal);
      if (token.kind === 'token') return { ok: true, detail: `${account.clientEmail} gets access tokens` };
      const { code = '', detail = 'no answer' } = token.result;
      return { ok: false, detail: `${code} ${detail}`.trim() };
    },
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}
