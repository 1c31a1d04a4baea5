import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { expect } from 'chai';
import { Channel, Reason, Status } from '../../gen/carillon/v1/notification_pb.js';
import { PreferenceService } from '../../gen/carillon/v1/preference_service_pb.js';
import { EmailVerdict, VerificationService } from '../../gen/carillon/v1/verification_service_pb.js';
import { TestCarillon } from '../support/start-carillon.ts';

describe('a started service', () => {
  it('stops what its PreferenceService was told to stop, and serves the VerificationService', async () => {
    await using carillon = await TestCarillon.start({ store: { settings: ['store.sqlite.path=:memory:'] } });
    const transport = createConnectTransport({ baseUrl: carillon.httpUrl, httpVersion: '1.1' });
    const content = { subject: 'Hello', textBody: 'Hello' };
    const recipient = { email: 'ana@example.com' };
    const mail = { type: 'hello', channels: [Channel.EMAIL], recipient, content };

    const address = { channel: Channel.EMAIL, address: 'ANA@example.com' };
    await createClient(PreferenceService, transport).addSuppression({ address });
    const { notifications } = await carillon.send(mail);
    expect(notifications.map(({ status, reason }) => [status, reason])).to.deep.equal([
      [Status.CANCELLED, Reason.SUPPRESSED],
    ]);

    const { verdict } = await createClient(VerificationService, transport).verifyEmail(recipient);
    expect(verdict).to.equal(EmailVerdict.VALID);
  });
});
