import { once } from 'node:events';
import { expect } from 'chai';
import { faultOf } from '../../src/providers/fault.ts';

describe('faultOf', () => {
  it('tells a time limit that was over from an abort', async () => {
    const late = AbortSignal.timeout(1);
    await once(late, 'abort');
    expect(faultOf(late.reason)).to.have.property('code', 'timeout');
    expect(faultOf(AbortSignal.abort().reason)).to.not.have.property('code');
  });

  it('has the words of each address that was tried', () => {
    const one = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    const all = Object.assign(new AggregateError([one, one], ''), { code: 'ECONNREFUSED' });
    expect(faultOf(all)).to.deep.equal({ code: 'ECONNREFUSED', detail: 'refused; refused' });
  });
});
