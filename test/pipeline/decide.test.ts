import { expect } from 'chai';
import { decide } from '../../src/pipeline/decide.ts';
import type { NotificationSpec } from '../../src/domain/notification.ts';
import { SAMPLE_TIME, aNotification } from '../support/sample.ts';

const NOW = SAMPLE_TIME;
const aSpec = (spec: Partial<NotificationSpec> = {}): NotificationSpec => aNotification({ spec }).spec;
const facts = { now: NOW, hasProvider: true };

describe('decide', () => {
  it('sends what nothing stands against', () => {
    expect(decide(aSpec(), facts)).to.deep.equal({ verdict: 'send' });
    expect(decide(aSpec({ scheduledFor: NOW, expiresAt: NOW + 1 }), facts)).to.deep.equal({ verdict: 'send' });
  });

  it('cancels from the moment of expiry on, before any other rule', () => {
    const expired = { verdict: 'cancel', reason: 'expired', layer: 'expiry' };
    expect(decide(aSpec({ expiresAt: NOW }), facts)).to.deep.equal(expired);
    const all = aSpec({ expiresAt: NOW - 1, scheduledFor: NOW + 1 });
    expect(decide(all, { now: NOW, hasProvider: false })).to.deep.equal(expired);
  });

  it('fails without a provider, scheduled or not', () => {
    const fails = { verdict: 'fail', reason: 'no_provider', layer: 'route' };
    expect(decide(aSpec(), { now: NOW, hasProvider: false })).to.deep.equal(fails);
    expect(decide(aSpec({ scheduledFor: NOW + 1 }), { now: NOW, hasProvider: false })).to.deep.equal(fails);
  });

  it('holds until the scheduled time', () => {
    expect(decide(aSpec({ scheduledFor: NOW + 1 }), facts)).to.deep.equal({
      verdict: 'hold',
      reason: 'scheduled',
      until: NOW + 1,
      layer: 'schedule',
    });
  });
});
