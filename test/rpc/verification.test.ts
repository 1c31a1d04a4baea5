import { Resolver } from 'node:dns/promises';
import { type Client, createClient } from '@connectrpc/connect';
import { expect } from 'chai';
import { EmailVerdict, PhoneType, VerificationService } from '../../gen/carillon/v1/verification_service_pb.js';
import { SECOND } from '../../src/domain/clock.ts';
import { CarillonError } from '../../src/errors.ts';
import type { PhoneFacts } from '../../src/providers/provider.ts';
import { createVerificationService } from '../../src/rpc/verification-service.ts';
import { FakeProvider, SENT } from '../support/fake-provider.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, PROTOCOLS, startRpc, type RpcServer } from '../support/rpc-server.ts';
import { startDns, type StartedDns } from '../support/start-dns.ts';

class LookingUp extends FakeProvider {
  answer: (signal: AbortSignal) => Promise<PhoneFacts> = async () => ({ valid: true });

  async lookUpPhone(_: string, signal: AbortSignal): Promise<PhoneFacts> {
    return await this.answer(signal);
  }
}

for (const protocol of PROTOCOLS) {
  describe(`VerificationService over ${protocol}`, () => {
    const provider = new LookingUp('twilio', SENT, 'sms');
    let dns: StartedDns;
    let rpc: RpcServer;
    let client: Client<typeof VerificationService>;

    before(async () => {
      dns = await startDns({
        'example.com': {
          mx: [
            { priority: 20, exchange: 'mx2.example.com' },
            { priority: 10, exchange: 'mx1.example.com' },
          ],
        },
        'nomail.example': { mx: [{ priority: 0, exchange: '' }] },
        'broken.example': 'server failure',
        'silent.example': 'silence',
        'xn--bcher-kva.example': { a: ['192.0.2.1'] },
      });
      const openResolver = (): Resolver => {
        const resolver = new Resolver({ timeout: 5 * SECOND, tries: 1 });
        resolver.setServers([dns.address]);
        return resolver;
      };
      const smsRoute = () => [{ provider, weight: 0 }];
      rpc = await startRpc({}, { services: [createVerificationService({ smsRoute, dns: { openResolver } })] });
      client = createClient(VerificationService, rpc.transport(protocol));
    });

    after(async () => {
      await rpc[Symbol.asyncDispose]();
      await dns[Symbol.asyncDispose]();
    });

    const verdicts: readonly [email: string, verdict: EmailVerdict, hosts: string[]][] = [
      ['ana@example.com', EmailVerdict.VALID, ['mx1.example.com', 'mx2.example.com']],
      ['ana@bücher.example', EmailVerdict.VALID, ['xn--bcher-kva.example']],
      ['ana', EmailVerdict.SYNTAX, []],
      ['ana@gone.example', EmailVerdict.NO_DOMAIN, []],
      ['ana@nomail.example', EmailVerdict.NO_MAIL, []],
      ['ana@broken.example', EmailVerdict.UNKNOWN, []],
    ];
    for (const [email, verdict, mxHosts] of verdicts) {
      it(`says of ${email}: ${EmailVerdict[verdict]}`, async () => {
        expect(await client.verifyEmail({ email, checkMx: true })).to.deep.include({ verdict, mxHosts });
      });
    }

    it('answers an address in the form that a recipient takes', async () => {
      expect((await client.verifyEmail({ email: 'ana@bücher.example' })).email).to.equal('ana@xn--bcher-kva.example');
      expect((await client.verifyEmail({ email: 'ana' })).email).to.equal('');
    });

    it('asks the DNS only when it is told to', async () => {
      const before = dns.questions.length;
      const answer = await client.verifyEmail({ email: 'ana@gone.example' });
      expect(answer).to.deep.include({ verdict: EmailVerdict.VALID, mxHosts: [] });
      expect(dns.questions).to.have.length(before);
    });

    it('lets go of the DNS when the caller goes', async () => {
      const caller = new AbortController();
      const before = dns.questions.length;
      const call = failureOf(
        client.verifyEmail({ email: 'ana@silent.example', checkMx: true }, { signal: caller.signal }),
      );
      await eventually('the question', () => dns.questions.length > before);
      caller.abort();
      expect((await call).code).to.equal('Canceled');
    });

    it('tells of a number what the plans say', async () => {
      expect(await client.verifyPhone({ phone: '(11) 99999-0000', country: 'BR' })).to.deep.include({
        valid: true,
        phone: '+5511999990000',
        type: PhoneType.MOBILE,
        country: 'BR',
        carrier: '',
        provider: '',
      });
      expect(await client.verifyPhone({ phone: 'hello' })).to.deep.include({ valid: false, phone: '', country: '' });
    });

    it('tells of a number what the provider says', async () => {
      provider.answer = async () => ({ valid: true, type: 'voip', country: 'PT', carrier: 'Acme' });
      expect(await client.verifyPhone({ phone: '+5511999990000', lookUp: true })).to.deep.include({
        valid: true,
        phone: '+5511999990000',
        type: PhoneType.VOIP,
        country: 'PT',
        carrier: 'Acme',
        provider: 'twilio',
      });
    });

    it('answers LOOKUP_FAILED when the provider fails, and why is reported', async () => {
      provider.answer = async () => {
        throw new CarillonError('LOOKUP_FAILED', 'twilio did not look the number up', { cause: new Error('401') });
      };
      const failure = await failureOf(client.verifyPhone({ phone: '+5511999990000', lookUp: true }));
      expect(failure).to.include({ code: 'Unavailable', reason: 'LOOKUP_FAILED' });
      expect(rpc.reported.at(-1)?.error.cause).to.have.property('message', '401');
    });

    it('refuses what breaks the rules of the fields', async () => {
      const invalid = { code: 'InvalidArgument', reason: 'INVALID_FIELD' };
      const fieldOf = (field: string): object => ({ ...invalid, fields: [field] });
      expect(await failureOf(client.verifyEmail({}))).to.deep.include(fieldOf('email'));
      expect(await failureOf(client.verifyPhone({}))).to.deep.include(fieldOf('phone'));
      expect(await failureOf(client.verifyPhone({ phone: '1', country: 'br' }))).to.deep.include(fieldOf('country'));
      expect(await failureOf(client.verifyPhone({ phone: '1', country: 'ZZ' }))).to.deep.include(fieldOf('country'));
    });
  });
}
