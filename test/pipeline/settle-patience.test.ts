import { expect } from 'chai';
import { claim } from '../../src/domain/transitions.ts';
import { settle } from '../../src/pipeline/settle.ts';
import { DEFAULT_BACKOFF, aNotification, aCall } from '../support/sample.ts';

describe('a provider that always asks to wait a second', () => {
  it('is not called tens of thousands of times for one notification', () => {
    let row = aNotification();
    let now = row.state.dueAt;
    let calls = 0;
    while (row.state.status === 'queued' || row.state.status === 'pending') {
      row = claim(row, { id: 'l', until: now + 60_000 }, [aCall('http')], now);
      calls++;
      const results = [{ target: 0, result: { outcome: 'rate_limited', retryAfterMs: 1_000 } as const }];
      const report = {
        leaseId: 'l',
        run: 1,
        number: row.state.attempt,
        calls: [{ provider: 'http', endedAt: now, results }],
      };
      const next = settle(row, report, { now, fraction: 0, backoff: DEFAULT_BACKOFF, hasJob: true });
      if (!next) throw new Error('it settles');
      row = { ...next, state: { ...next.state, published: next.state.version } };
      now = row.state.dueAt;
    }
    expect(calls).to.be.below(1_000);
  });
});
