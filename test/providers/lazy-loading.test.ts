import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { makeKeys } from './push/web-push-keys.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, 'fixtures', 'opened-packages.ts');

/** Libraries of vendors, and that of mail, which a start without mail has no use for; the scope where there is one. */
const VENDORS = ['@sendgrid', '@aws-sdk', '@vonage', 'twilio', 'apns2', 'web-push', 'nodemailer'];

const APNS_KEY = 'apns.p8';

function vapidKeys(): readonly string[] {
  const { publicKey, privateKey } = makeKeys();
  return [
    `notifications.push.web_push.public_key=${publicKey}`,
    `notifications.push.web_push.private_key=${privateKey}`,
  ];
}

describe('a start', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'carillon-lazy-'));
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    writeFileSync(join(folder, APNS_KEY), privateKey.export({ type: 'pkcs8', format: 'pem' }));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function vendorsOf(...settings: readonly string[]): Promise<readonly string[]> {
    const { stdout } = await run(process.execPath, [SCRIPT, ...settings], { cwd: folder });
    // As the script prints it.
    const packages = JSON.parse(stdout) as string[];
    expect(packages, 'packages are seen at all').to.include('ipaddr.js');
    return VENDORS.filter((vendor) => packages.some((name) => name === vendor || name.startsWith(`${vendor}/`)));
  }

  it('loads no library of a vendor unless it is configured', async () => {
    expect(await vendorsOf()).to.deep.equal([]);
  });

  const senders = [
    'notifications.default_sender_email=shop@example.com',
    'notifications.default_sms_sender=+15550000001',
  ];
  const cases: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
    ['email', 'smtp', ['nodemailer'], ['host=127.0.0.1']],
    ['email', 'sendgrid', ['@sendgrid'], ['api_key=k']],
    // A part of nodemailer codes names and headers for SES, which takes ASCII only.
    ['email', 'ses', ['@aws-sdk', 'nodemailer'], ['region=eu-west-1']],
    ['sms', 'sns', ['@aws-sdk'], ['region=eu-west-1']],
    ['sms', 'twilio', ['twilio'], ['account_sid=AC1', 'auth_token=t']],
    ['sms', 'vonage', ['@vonage'], ['api_key=k', 'api_secret=s']],
    [
      'push',
      'apns',
      ['apns2'],
      ['team_id=TEAM567890', 'key_id=KEY4567890', 'topic=org.example', `key_file=${APNS_KEY}`],
    ],
    ['push', 'web_push', ['web-push'], ['subject=mailto:shop@example.com']],
  ];
  for (const [channel, provider, vendors, settings] of cases) {
    it(`loads only ${vendors.join(' and ')} for ${provider}`, async () => {
      const own = settings.map((pair) => `notifications.${channel}.${provider}.${pair}`);
      const named = `notifications.${channel}.providers=${provider}`;
      expect(await vendorsOf(named, ...senders, ...own, ...vapidKeys())).to.deep.equal(vendors);
    });
  }
});
