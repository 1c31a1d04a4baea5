import { expect } from 'chai';
import fc from 'fast-check';
import { Circuit } from '../../src/pipeline/circuit.ts';

const OPTIONS = { failures: 3, openMs: 1_000, maxOpenMs: 4_000 };
const PROBE = 500;

function opened(): Circuit {
  const circuit = new Circuit(OPTIONS, PROBE);
  for (let i = 0; i < OPTIONS.failures; i++) circuit.failed(0);
  return circuit;
}

describe('a circuit', () => {
  it('opens after so many faults in a row, and not before', () => {
    const circuit = new Circuit(OPTIONS, PROBE);
    expect(circuit.failed(0)).to.equal(undefined);
    expect(circuit.failed(0)).to.equal(undefined);
    expect(circuit.blockedUntil(0)).to.equal(undefined);
    expect(circuit.failed(0)).to.equal(1_000);
    expect(circuit.blockedUntil(999)).to.equal(1_000);
  });

  it('counts only faults in a row', () => {
    const circuit = new Circuit(OPTIONS, PROBE);
    circuit.failed(0);
    circuit.failed(0);
    expect(circuit.worked(), 'it was not open').to.equal(false);
    circuit.failed(0);
    circuit.failed(0);
    expect(circuit.blockedUntil(0)).to.equal(undefined);
  });

  it('lets one call through once its time is over, and the others wait for what it tells', () => {
    const circuit = opened();
    expect(circuit.blockedUntil(1_000)).to.equal(undefined);
    circuit.began(1_000);
    expect(circuit.blockedUntil(1_001)).to.be.above(1_001);
  });

  it('closes with a probe that worked', () => {
    const circuit = opened();
    circuit.began(1_000);
    expect(circuit.worked()).to.equal(true);
    expect(circuit.blockedUntil(1_001)).to.equal(undefined);
    expect(circuit.failed(1_002), 'and counts from zero').to.equal(undefined);
  });

  it('is not held against it what began before it opened', () => {
    const circuit = opened();
    expect(circuit.failed(1_001, 999)).to.equal(undefined);
    expect(circuit.blockedUntil(1_001)).to.equal(undefined);
  });

  it('stays open for twice as long after each probe that failed, up to the limit', () => {
    const circuit = opened();
    const times: number[] = [];
    for (let now = 1_000, i = 0; i < 4; i++) {
      circuit.began(now);
      const until = circuit.failed(now) ?? 0;
      times.push(until - now);
      now = until;
    }
    expect(times).to.deep.equal([2_000, 4_000, 4_000, 4_000]);
  });

  it('gives up a probe that tells nothing', () => {
    const circuit = opened();
    circuit.began(1_000);
    expect(circuit.blockedUntil(1_000 + PROBE)).to.equal(undefined);
  });

  it('is not kept open by calls that had begun before it opened', () => {
    const circuit = opened();
    expect(circuit.failed(999)).to.equal(undefined);
    expect(circuit.blockedUntil(1_000)).to.equal(undefined);
  });

  it('never blocks for longer than its limit, whatever happens', () => {
    const steps = fc.array(fc.record({ after: fc.nat(3_000), ok: fc.boolean() }), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (sequence) => {
        const circuit = new Circuit(OPTIONS, PROBE);
        let now = 0;
        for (const { after, ok } of sequence) {
          now += after;
          const blocked = circuit.blockedUntil(now);
          if (blocked !== undefined) {
            expect(blocked)
              .to.be.above(now)
              .and.at.most(now + OPTIONS.maxOpenMs);
            continue;
          }
          circuit.began(now);
          if (ok) circuit.worked();
          else circuit.failed(now);
        }
      }),
    );
  });
});
