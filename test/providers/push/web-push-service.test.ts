import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { AddressInfo, Server } from 'node:net';
import { expect } from 'chai';
import type { Provider } from '../../../src/providers/provider.ts';
import { webPush } from '../../../src/providers/push/web-push.ts';
import { KEY } from '../conformance.ts';
import { push } from '../messages.ts';
import { openProvider } from '../open-provider.ts';
import { makeKeys, type KeyPair } from './web-push-keys.ts';

const VAPID = makeKeys();

const call = () => ({ key: KEY, signal: new AbortController().signal });
const open = (keys: KeyPair = VAPID): Promise<Provider> =>
  openProvider(webPush, { subject: 'mailto:push@example.org', ...keys, allowPrivate: ['127.0.0.1'] });

/** As much as is used here of a package without types. */
interface TestingModel {
  notifyUrl: string;
  subscribe(options: object): Promise<{ endpoint: string; keys: { p256dh: string; auth: string }; clientHash: string }>;
  expireSubscription(clientHash: string): void;
  getNotifications(request: { clientHash: string }): { messages: readonly string[] };
}
interface TestingPackage {
  readonly PushApiModel: new () => TestingModel;
}
type TestingServer = new (
  model: TestingModel,
  port: number,
) => { readonly _app: { listen(port: number, host: string): Server }; setRequestHandlers(): void };

/** The push service of the package web-push-testing: it checks the signature and decrypts with code of its own. */
async function startPushService(): Promise<{ model: TestingModel } & AsyncDisposable> {
  const require = createRequire(import.meta.url);
  // The package has no types; these are what its source says.
  const { PushApiModel } = require('web-push-testing/src/PushApiModel.js') as TestingPackage;
  const Service = require('web-push-testing/src/server.js') as TestingServer;
  const model = new PushApiModel();
  const service = new Service(model, 0);
  service.setRequestHandlers();
  const server = service._app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // Listening on a port, its address is never a text.
  const { port } = server.address() as AddressInfo;
  model.notifyUrl = `http://127.0.0.1:${port}/notify/`;
  return {
    model,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, 'close');
    },
  };
}

describe('web_push and an independent push service', () => {
  it('is understood by it, to the last character', async () => {
    await using service = await startPushService();
    await using provider = await open();
    const { endpoint, keys, clientHash } = await service.model.subscribe({ applicationServerKey: VAPID.publicKey });
    const message = push({ kind: 'web_push', token: endpoint, ...keys });
    expect(await provider.send(message, call())).to.include({ outcome: 'sent', code: '201' });
    const { messages } = service.model.getNotifications({ clientHash });
    expect(messages.map((text): unknown => JSON.parse(text))).to.deep.equal([message.push]);
  });

  it('is refused by it for another key than the subscription was made for', async () => {
    await using service = await startPushService();
    await using provider = await open(makeKeys());
    const { endpoint, keys, clientHash } = await service.model.subscribe({ applicationServerKey: VAPID.publicKey });
    const result = await provider.send(push({ kind: 'web_push', token: endpoint, ...keys }), call());
    expect(result.outcome).to.equal('permanent_failure');
    expect(service.model.getNotifications({ clientHash }).messages).to.be.empty;
  });

  it('gives a subscription up that has expired there', async () => {
    await using service = await startPushService();
    await using provider = await open();
    const { endpoint, keys, clientHash } = await service.model.subscribe({ applicationServerKey: VAPID.publicKey });
    service.model.expireSubscription(clientHash);
    const result = await provider.send(push({ kind: 'web_push', token: endpoint, ...keys }), call());
    expect(result).to.include({ outcome: 'invalid_recipient', suppress: 'invalid_token' });
  });
});
