import { expect } from 'chai';
import { receive } from '../../../src/domain/transitions.ts';
import type { EmailMessage } from '../../../src/providers/provider.ts';
import type { ProviderReceipt } from '../../../src/domain/receipt.ts';
import { receiptsOf } from '../../../src/providers/email/ses-events.ts';
import { composeMail } from '../../../src/providers/email/smtp-mail.ts';
import { SAMPLE_TIME, aNotification, aReceipt } from '../../support/sample.ts';

const now = SAMPLE_TIME;

/** Where a sent notification stands after these. */
function statusAfter(told: readonly ProviderReceipt[]): string {
  const row = aNotification({ state: { status: 'sent', targets: [{ address: 'ana@example.com', outcome: 'sent' }] } });
  return told.reduce((so, one) => receive(so, 0, aReceipt(one), now), row).state.status;
}

describe('a message that the service says it never tried to send is not DELIVERED', () => {
  it('SES, a complaint of the subtype OnAccountSuppressionList', () => {
    const complaint = {
      complaintSubType: 'OnAccountSuppressionList',
      complainedRecipients: [{ emailAddress: 'ana@example.com' }],
      timestamp: new Date(now).toISOString(),
    };
    const message = JSON.stringify({ eventType: 'Complaint', complaint, mail: { tags: { carillon_id: ['n'] } } });
    expect(statusAfter(receiptsOf({ kind: 'notification', messageId: 'm', at: now, message }))).to.equal('bounced');
  });
});

describe('through an SMTP relay of a vendor', () => {
  for (const name of ['X-SMTPAPI', 'X-SES-MESSAGE-TAGS', 'X-Carillon-Id', 'X-Mailgun-Variables']) {
    it(`a caller cannot name another's notification by ${name}`, () => {
      const message = {
        channel: 'email',
        notificationId: 'mine',
        type: 't',
        tenant: 'a',
        priority: 'normal',
        to: 'a@b.co',
      } as const;
      const more = { cc: [], bcc: [], subject: 's', attachments: [], headers: { [name]: 'theirs' } };
      const mail = composeMail({ ...message, ...more } satisfies EmailMessage, { email: 'x@y.co' }, 'key');
      expect(JSON.stringify(mail.headers)).not.to.contain('theirs');
    });
  }
});
