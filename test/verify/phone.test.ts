import { expect } from 'chai';
import { CarillonError } from '../../src/errors.ts';
import type { PhoneFacts, Route } from '../../src/providers/provider.ts';
import { verifyPhone } from '../../src/verify/phone.ts';
import type { LookUpOptions, PhoneQuestion, PhoneReport } from '../../src/verify/phone.ts';
import { eventually } from '../support/eventually.ts';
import { FakeProvider, SENT } from '../support/fake-provider.ts';

const never = new AbortController().signal;
const MOBILE = '+5511999990000';

const onPlan = (phone: string, country?: string): Promise<PhoneReport> =>
  verifyPhone({ phone, lookUp: false, ...(country && { country }) }, { route: [] }, never);

describe('a phone number by the numbering plans', () => {
  const plans: Readonly<Record<string, PhoneReport>> = {
    '+5511999990000': { valid: true, phone: '+5511999990000', type: 'mobile', country: 'BR' },
    '+44 20 7946 0958': { valid: true, phone: '+442079460958', type: 'landline', country: 'GB' },
    '+1 (213) 373-4253': { valid: true, phone: '+12133734253', type: 'mobile_or_landline', country: 'US' },
    '+445612345678': { valid: true, phone: '+445612345678', type: 'voip', country: 'GB' },
    '+18002345678': { valid: true, phone: '+18002345678', type: 'other', country: 'US' },
  };
  for (const [phone, report] of Object.entries(plans)) {
    it(`${phone} is ${report.type} of ${report.country}`, async () => {
      expect(await onPlan(phone)).to.deep.equal(report);
    });
  }

  it('that is possible but set aside is told in E.164 form, and not as valid', async () => {
    expect(await onPlan('+1 555 123 0000')).to.deep.equal({ valid: false, phone: '+15551230000' });
  });

  it('is read as it is dialled within the country, when one is given', async () => {
    const report = { valid: true, phone: MOBILE, type: 'mobile', country: 'BR' };
    expect(await onPlan('(11) 99999-0000', 'BR')).to.deep.equal(report);
    expect(await onPlan('(11) 99999-0000')).to.deep.equal({ valid: false });
    expect(await onPlan(MOBILE, 'US')).to.deep.equal(report);
  });

  for (const phone of ['hello', '+', '+1555123', '+999123456789', '+55119999900001', `call ${MOBILE}`, `${MOBILE}x`]) {
    it(`${phone} is no number`, async () => {
      expect(await onPlan(phone)).to.deep.equal({ valid: false });
    });
  }

  it('is refused with a country that has no plan', async () => {
    const thrown = CarillonError.from(await onPlan('999', 'ZZ').catch((error: unknown) => error));
    expect(thrown.violations.map(({ field }) => field)).to.deep.equal(['country']);
  });
});

class LookingUp extends FakeProvider {
  readonly asked: string[] = [];
  readonly #answer: (signal: AbortSignal) => Promise<PhoneFacts>;

  constructor(name: string, answer: (signal: AbortSignal) => Promise<PhoneFacts>) {
    super(name, SENT, 'sms');
    this.#answer = answer;
  }

  async lookUpPhone(phone: string, signal: AbortSignal): Promise<PhoneFacts> {
    this.asked.push(phone);
    return await this.#answer(signal);
  }
}

const saying = (name: string, facts: PhoneFacts): LookingUp => new LookingUp(name, async () => facts);
const routeOf = (...providers: readonly FakeProvider[]): readonly Route[] =>
  providers.map((provider) => ({ provider, weight: 0 }));

describe('the look-up of a phone number', () => {
  const lookUp = (phone: string, options: LookUpOptions, signal = never): Promise<PhoneReport> => {
    const question: PhoneQuestion = { phone, lookUp: true };
    return verifyPhone(question, options, signal);
  };
  const reasonOf = async (call: Promise<unknown>): Promise<string> => {
    const thrown = await call.then(
      () => undefined,
      (error: unknown) => error,
    );
    return CarillonError.from(thrown).reason;
  };

  it('asks the first provider of the route that can, and no other, for the number in E.164 form', async () => {
    const [first, second] = [saying('vonage', { valid: true }), saying('twilio', { valid: true })];
    const route = routeOf(new FakeProvider('sns', SENT, 'sms'), first, second);
    expect((await lookUp('+55 11 99999-0000', { route })).provider).to.equal('vonage');
    expect([first.asked, second.asked]).to.deep.equal([[MOBILE], []]);
  });

  it('puts what the provider says over the plans', async () => {
    const facts = { valid: true, type: 'voip', country: 'PT', carrier: 'Acme' } as const;
    expect(await lookUp(MOBILE, { route: routeOf(saying('twilio', facts)) })).to.deep.equal({
      ...facts,
      phone: MOBILE,
      provider: 'twilio',
    });
  });

  it('keeps what the plans say where the provider says nothing', async () => {
    const facts = { valid: false, phone: MOBILE, type: 'mobile', country: 'BR', provider: 'twilio' };
    expect(await lookUp(MOBILE, { route: routeOf(saying('twilio', { valid: false })) })).to.deep.equal(facts);
  });

  it('may find a number valid that the plans do not know', async () => {
    const route = routeOf(saying('twilio', { valid: true }));
    expect((await lookUp('+15551230000', { route })).valid).to.equal(true);
  });

  it('does not pay for what is no number', async () => {
    const provider = saying('twilio', { valid: true });
    expect(await lookUp('+1555123', { route: routeOf(provider) })).to.deep.equal({ valid: false });
    expect(provider.asked).to.deep.equal([]);
  });

  it('is not made unless it was asked for', async () => {
    const provider = saying('twilio', { valid: false });
    const report = await verifyPhone({ phone: MOBILE, lookUp: false }, { route: routeOf(provider) }, never);
    expect(report).to.include({ valid: true });
    expect(report).not.to.have.property('provider');
    expect(provider.asked).to.deep.equal([]);
  });

  it('fails with LOOKUP_FAILED when no provider of the route can', async () => {
    const route = routeOf(new FakeProvider('sns', SENT, 'sms'));
    expect(await reasonOf(lookUp(MOBILE, { route }))).to.equal('LOOKUP_FAILED');
  });

  const hanging = (): LookingUp =>
    new LookingUp('twilio', (signal) => {
      const { promise, reject } = Promise.withResolvers<PhoneFacts>();
      signal.addEventListener('abort', () => reject(new CarillonError('LOOKUP_FAILED', 'nothing came back')));
      return promise;
    });

  it('ends at its limit', async () => {
    expect(await reasonOf(lookUp(MOBILE, { route: routeOf(hanging()), limit: 20 }))).to.equal('LOOKUP_FAILED');
  });

  it('ends when the caller goes', async () => {
    const [caller, provider] = [new AbortController(), hanging()];
    const asked = reasonOf(lookUp(MOBILE, { route: routeOf(provider) }, caller.signal));
    await eventually('the look-up', () => provider.asked.length === 1);
    caller.abort();
    expect(await asked).to.equal('LOOKUP_FAILED');
  });

  it('is not made once the caller has gone', async () => {
    const [gone, provider] = [new CarillonError('CALL_CANCELLED', 'gone'), saying('twilio', { valid: true })];
    const asked = lookUp(MOBILE, { route: routeOf(provider) }, AbortSignal.abort(gone));
    expect(await reasonOf(asked)).to.equal('CALL_CANCELLED');
    expect(provider.asked).to.deep.equal([]);
  });
});
