import { expect } from 'chai';
import { systemRandom } from '../../src/domain/id.ts';
import type { Receipt } from '../../src/domain/receipt.ts';
import type { Suppression } from '../../src/domain/suppression.ts';
import type { SuppressionMatch, SuppressionQuery } from '../../src/storage/storage.ts';
import { aFullReceipt, aReceipt, aSuppression, SAMPLE_TIME } from '../support/sample.ts';
import { onEach, storageAdapters } from './adapters.ts';

const EVERY_SCRIPT = 'Ünïcôdé, 日本語, עברית, 👩‍👩‍👧, e\u0301, \u2028, "quoted" \\ $set {{x}} %s \u0001 \ud800';

onEach('storage, receipts', storageAdapters, (rig) => {
  const N1 = systemRandom.id(SAMPLE_TIME);
  const N2 = systemRandom.id(SAMPLE_TIME);
  /** Saves them as not applied yet. */
  const save = (...receipts: Receipt[]): Promise<void> =>
    rig.port.saveReceipts(receipts.map((receipt) => ({ receipt, wakeAt: 100 })));
  const all = (): Promise<Receipt[]> => rig.port.dueReceipts(Number.MAX_SAFE_INTEGER, 1_000);

  describe('saveReceipts', () => {
    it('gives back a receipt with every optional field as it was, also after a new opening', async () => {
      const receipt = aFullReceipt({ notificationId: N1, detail: EVERY_SCRIPT, at: SAMPLE_TIME + 0.25 });
      await save(receipt);
      await rig.reopen();
      expect(await rig.port.receiptsOf([N1])).to.deep.equal([receipt]);
      expect(await all()).to.deep.equal([receipt]);
    });

    it('leaves absent what was absent', async () => {
      const receipt = aReceipt();
      await save(receipt);
      expect(await all()).to.deep.equal([receipt]);
    });

    it('leaves a receipt that is there as it is, and writes the others of the call', async () => {
      const first = aReceipt();
      await save(first);
      const [repeat, other] = [aReceipt({ ...first, kind: 'bounced', notificationId: N2, receivedAt: 1 }), aReceipt()];
      await save(repeat, other);
      expect(await all()).to.have.deep.members([first, other]);
    });

    it('does not wake one again that is applied', async () => {
      const receipt = aReceipt({ notificationId: N1 });
      await save(receipt);
      await rig.port.markReceipts([{ id: receipt.id }]);
      await save(receipt);
      expect(await all()).to.deep.equal([]);
    });

    it('keeps the receipts of two providers with the same event id', async () => {
      const receipts = ['ses', 'sendgrid'].map((provider) => aReceipt({ provider, eventId: '1' }));
      await save(...receipts);
      expect(await all()).to.have.deep.members(receipts);
    });

    it('keeps one of many that are saved at once under one id, whole', async () => {
      const eventId = 'one';
      const racing = Array.from({ length: 20 }, (_, racer) => aReceipt({ eventId, at: racer, code: String(racer) }));
      await Promise.all(racing.map((receipt) => save(receipt)));
      const [kept, ...others] = await all();
      expect(others).to.deep.equal([]);
      expect(racing).to.deep.include(kept);
    });

    it('writes one id once that comes twice in a call', async () => {
      const receipt = aReceipt();
      await save(receipt, receipt);
      expect(await all()).to.deep.equal([receipt]);
    });

    it('takes hundreds in one call, and none at all', async () => {
      const receipts = Array.from({ length: 700 }, () => aReceipt());
      await save(...receipts);
      await save();
      expect((await all()).map(({ id }) => id)).to.have.members(receipts.map(({ id }) => id));
    });
  });

  describe('receiptsOf', () => {
    it('answers what is open of these notifications, earliest event first', async () => {
      const [late, early, middle] = [3, 1, 2].map((at) => aReceipt({ notificationId: at === 2 ? N2 : N1, at }));
      await save(late ?? aReceipt(), early ?? aReceipt(), middle ?? aReceipt(), aReceipt());
      expect(await rig.port.receiptsOf([N2, N1, systemRandom.id(SAMPLE_TIME)])).to.deep.equal([early, middle, late]);
      expect(await rig.port.receiptsOf([N1])).to.deep.equal([early, late]);
    });

    it('answers events of one moment in the order in which they came', async () => {
      const receipts = [5, 3, 4].map((receivedAt) => aReceipt({ notificationId: N1, receivedAt }));
      await save(...receipts);
      expect((await rig.port.receiptsOf([N1])).map(({ receivedAt }) => receivedAt)).to.deep.equal([3, 4, 5]);
    });

    it('answers each once, however often its notification is named', async () => {
      const receipt = aReceipt({ notificationId: N1 });
      await save(receipt);
      expect(await rig.port.receiptsOf([N1, N1])).to.deep.equal([receipt]);
    });

    it('gives each of many that ask at once what is theirs', async () => {
      const receipts = Array.from({ length: 30 }, () => aReceipt());
      await save(...receipts);
      const answers = await Promise.all(receipts.map((receipt) => rig.port.receiptsOf([receipt.notificationId])));
      expect(answers).to.deep.equal(receipts.map((receipt) => [receipt]));
    });

    it('answers nothing for a receipt that was saved as applied, and for no ids', async () => {
      await rig.port.saveReceipts([{ receipt: aReceipt({ notificationId: N1 }) }]);
      expect(await rig.port.receiptsOf([N1])).to.deep.equal([]);
      expect(await rig.port.receiptsOf([])).to.deep.equal([]);
    });
  });

  describe('dueReceipts', () => {
    it('answers those whose wake time has come, earliest first, up to the limit', async () => {
      const wakes = [300, 100, 201, 200, undefined];
      const receipts = wakes.map(() => aReceipt());
      await rig.port.saveReceipts(
        receipts.map((receipt, index) => {
          const wakeAt = wakes[index];
          return { receipt, ...(wakeAt !== undefined && { wakeAt }) };
        }),
      );
      const [late, early, notYet, middle] = receipts;
      expect(await rig.port.dueReceipts(200, 10)).to.deep.equal([early, middle]);
      expect(await rig.port.dueReceipts(1_000, 3)).to.deep.equal([early, middle, notYet]);
      expect(await rig.port.dueReceipts(1_000, 10)).to.deep.equal([early, middle, notYet, late]);
      expect(await rig.port.dueReceipts(99, 10)).to.deep.equal([]);
    });
  });

  describe('markReceipts', () => {
    it('sets and takes away the wake time of each, and nothing else', async () => {
      const [applied, later] = [aFullReceipt({ notificationId: N1 }), aFullReceipt({ notificationId: N1 })];
      await save(applied, later);
      await rig.port.markReceipts([{ id: applied.id }, { id: later.id, wakeAt: 500 }]);
      expect(await rig.port.receiptsOf([N1])).to.deep.equal([later]);
      expect(await rig.port.dueReceipts(499, 10)).to.deep.equal([]);
      expect(await rig.port.dueReceipts(500, 10)).to.deep.equal([later]);
    });

    it('opens one again that was applied', async () => {
      const receipt = aReceipt({ notificationId: N1 });
      await rig.port.saveReceipts([{ receipt }]);
      await rig.port.markReceipts([{ id: receipt.id, wakeAt: 500 }]);
      expect(await rig.port.receiptsOf([N1])).to.deep.equal([receipt]);
      expect(await rig.port.dueReceipts(500, 10)).to.deep.equal([receipt]);
    });

    it('leaves one that is gone so, and does the others', async () => {
      const receipt = aReceipt({ notificationId: N1 });
      await save(receipt);
      await rig.port.markReceipts([{ id: 'smtp:gone', wakeAt: 1 }, { id: receipt.id, wakeAt: 2 }, { id: 'smtp:too' }]);
      await rig.port.markReceipts([]);
      expect(await rig.port.dueReceipts(2, 10)).to.deep.equal([receipt]);
    });
  });

  describe('deleteReceipts', () => {
    it('deletes those that came before, applied or not, in steps', async () => {
      const open = [1, 2].map((receivedAt) => aReceipt({ receivedAt, at: 999 }));
      const applied = aReceipt({ receivedAt: 3 });
      const kept = aReceipt({ receivedAt: 10, at: 1 });
      await save(...open, kept);
      await rig.port.saveReceipts([{ receipt: applied }]);
      expect(await rig.port.deleteReceipts(10, 2)).to.equal(2);
      expect(await rig.port.deleteReceipts(10, 2)).to.equal(1);
      expect(await rig.port.deleteReceipts(10, 2)).to.equal(0);
      expect(await all()).to.deep.equal([kept]);
    });

    it('lets an id that was deleted come again', async () => {
      const receipt = aReceipt();
      await save(receipt);
      await rig.port.deleteReceipts(receipt.receivedAt + 1, 10);
      const again = { ...receipt, code: 'again' };
      await save(again);
      expect(await all()).to.deep.equal([again]);
    });
  });
});

onEach('storage, suppressions and secrets', storageAdapters, (rig) => {
  const hash = (digit: string): string => digit.repeat(64);
  const add = (...suppressions: Suppression[]): Promise<void> => rig.port.addSuppressions(suppressions);
  const remove = (addressHash: string, match: Partial<SuppressionMatch> = {}): Promise<boolean> =>
    rig.port.removeSuppressions({ addressHash, category: '', ...match });

  describe('addSuppressions and findSuppressions', () => {
    it('gives back what was added as it was, also after a new opening', async () => {
      const full = aSuppression({ category: 'marketing', detail: EVERY_SCRIPT });
      const plain = aSuppression({ addressHash: hash('b') });
      await add(full, plain);
      await rig.reopen();
      expect(await rig.port.findSuppressions([hash('a'), hash('b')])).to.have.deep.members([full, plain]);
    });

    it('keeps the first of an address, category and reason, and writes the others of the call', async () => {
      const first = aSuppression();
      await add(first);
      const repeat = aSuppression({ source: 'api', createdAt: 1 });
      const others = [aSuppression({ category: 'marketing' }), aSuppression({ reason: 'manual' })];
      await add(repeat, ...others);
      expect(await rig.port.findSuppressions([first.addressHash])).to.have.deep.members([first, ...others]);
    });

    it('moves the time at which it was said on, and never back', async () => {
      const said = (saidAt: number): Suppression => aSuppression({ saidAt, createdAt: SAMPLE_TIME });
      for (const time of [5, 9, 7]) await add(said(time));
      await Promise.all([11, 12, 10].map((time) => add(said(time))));
      await rig.reopen();
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([said(12)]);
    });

    it('keeps one of many that are added at once, whole', async () => {
      const racing = Array.from({ length: 20 }, (_, racer) =>
        aSuppression({ createdAt: racer, detail: String(racer) }),
      );
      await Promise.all(racing.map((suppression) => add(suppression)));
      const [kept, ...others] = await rig.port.findSuppressions([hash('a')]);
      expect(others).to.deep.equal([]);
      expect(racing).to.deep.include(kept);
    });

    it('finds those of the addresses asked for alone, each once', async () => {
      const wanted = [
        aSuppression(),
        aSuppression({ category: 'x' }),
        aSuppression({ category: 'x', addressHash: hash('b') }),
      ];
      await add(...wanted, aSuppression({ addressHash: hash('c') }));
      const found = await rig.port.findSuppressions([hash('a'), hash('b'), hash('a'), hash('d')]);
      expect(found).to.have.deep.members(wanted);
    });

    it('gives each of many that ask at once what is theirs', async () => {
      const digits = ['1', '2', '3', '4', '5'];
      const suppressions = digits.map((digit) => aSuppression({ addressHash: hash(digit) }));
      await add(...suppressions);
      const answers = await Promise.all(digits.map((digit) => rig.port.findSuppressions([hash(digit), hash('f')])));
      expect(answers).to.deep.equal(suppressions.map((suppression) => [suppression]));
    });

    it('finds nothing where there is nothing, and for no addresses', async () => {
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([]);
      await add(aSuppression());
      await add();
      expect(await rig.port.findSuppressions([])).to.deep.equal([]);
    });
  });

  describe('removeSuppressions', () => {
    it('takes away all of a category, or those of one reason that were said until a time', async () => {
      const [bounce, stop, manual] = [
        aSuppression(),
        aSuppression({ reason: 'unsubscribed', saidAt: 5 }),
        aSuppression({ reason: 'manual' }),
      ];
      await add(bounce, stop, manual);
      expect(await remove(hash('a'), { reason: 'complaint' })).to.equal(false);
      expect(await remove(hash('a'), { reason: 'unsubscribed', until: 4 })).to.equal(false);
      expect(await rig.port.findSuppressions([hash('a')])).to.have.length(3);
      expect(await remove(hash('a'), { reason: 'unsubscribed', until: 5 })).to.equal(true);
      expect(await rig.port.findSuppressions([hash('a')])).to.have.deep.members([bounce, manual]);
      expect(await remove(hash('a'))).to.equal(true);
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([]);
    });

    it('is not lost on one that is said again meanwhile', async () => {
      for (let round = 0; round < 10; round++) {
        await add(aSuppression({ reason: 'unsubscribed', saidAt: 1 }));
        await Promise.all([
          remove(hash('a'), { reason: 'unsubscribed', until: 2 }),
          add(aSuppression({ reason: 'unsubscribed', saidAt: 3 })),
        ]);
        expect(await rig.port.findSuppressions([hash('a')])).to.have.length(1);
        await remove(hash('a'));
      }
    });

    it('takes away the one of all categories where none is given, and tells whether there was one', async () => {
      const [everything, marketing] = [aSuppression(), aSuppression({ category: 'marketing' })];
      await add(everything, marketing);
      expect(await remove(hash('a'))).to.equal(true);
      expect(await remove(hash('a'))).to.equal(false);
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([marketing]);
    });

    it('takes away the one of a category alone', async () => {
      const [everything, marketing] = [aSuppression(), aSuppression({ category: 'marketing' })];
      await add(everything, marketing, aSuppression({ addressHash: hash('b'), category: 'marketing' }));
      expect(await remove(hash('a'), { category: 'news' })).to.equal(false);
      expect(await remove(hash('a'), { category: 'marketing' })).to.equal(true);
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([everything]);
      expect(await rig.port.findSuppressions([hash('b')])).to.have.length(1);
    });

    it('lets the address be suppressed anew', async () => {
      await add(aSuppression());
      await remove(hash('a'));
      const again = aSuppression({ reason: 'manual' });
      await add(again);
      expect(await rig.port.findSuppressions([hash('a')])).to.deep.equal([again]);
    });

    it('tells one of twenty that remove it at once that it did', async () => {
      await add(aSuppression());
      const racing = Array.from({ length: 20 }, () => remove(hash('a')));
      expect((await Promise.all(racing)).filter(Boolean)).to.have.length(1);
    });
  });

  describe('listSuppressions', () => {
    /** In the order of the list. */
    const listed = [
      aSuppression({ addressHash: hash('0') }),
      aSuppression({ addressHash: hash('1'), category: 'a' }),
      aSuppression({ addressHash: hash('3') }),
      aSuppression({ addressHash: hash('3'), reason: 'manual' }),
      aSuppression({ addressHash: hash('3'), category: 'marketing' }),
      aSuppression({ addressHash: hash('3'), category: 'news' }),
      aSuppression({ addressHash: hash('4'), channel: 'sms' }),
      aSuppression({ addressHash: hash('a'), category: 'Z' }),
      aSuppression({ addressHash: hash('a'), category: 'a' }),
      aSuppression({ addressHash: hash('b'), channel: 'sms', category: 'a' }),
    ];

    beforeEach(async () => {
      const others = ['2', '3', 'c'].map((digit) => aSuppression({ tenant: 'other', addressHash: hash(`${digit}f`) }));
      await add(...listed.toReversed(), ...others);
    });

    /** Every page, one after the other. */
    async function pages(query: Omit<SuppressionQuery, 'after' | 'tenant'>): Promise<Suppression[]> {
      const found: Suppression[] = [];
      for (;;) {
        const last = found.at(-1);
        const after = last && { addressHash: last.addressHash, category: last.category ?? '', reason: last.reason };
        const page = await rig.port.listSuppressions({ tenant: 'default', ...query, ...(after && { after }) });
        expect(page).to.have.length.at.most(query.limit);
        if (page.length === 0) return found;
        found.push(...page);
      }
    }

    it('answers those of the tenant by address, category and reason', async () => {
      expect(await rig.port.listSuppressions({ tenant: 'default', limit: 100 })).to.deep.equal(listed);
      expect(await rig.port.listSuppressions({ tenant: 'nobody', limit: 100 })).to.deep.equal([]);
    });

    for (const limit of [1, 2, 4]) {
      it(`comes by all of them in pages of ${limit}, each once, also with a channel`, async () => {
        expect(await pages({ limit })).to.deep.equal(listed);
        const texts = listed.filter(({ channel }) => channel === 'sms');
        expect(await pages({ limit, channel: 'sms' })).to.deep.equal(texts);
      });
    }

    it('goes on from a position whose suppression was removed', async () => {
      await remove(hash('3'), { category: 'marketing' });
      const after = { addressHash: hash('3'), category: 'marketing', reason: 'hard_bounce' } as const;
      const rest = await rig.port.listSuppressions({ tenant: 'default', after, limit: 100 });
      expect(rest).to.deep.equal(listed.slice(5));
    });
  });

  describe('sharedSecret', () => {
    it('keeps the candidate of the first caller for good', async () => {
      expect(await rig.port.sharedSecret('suppressions', 'first')).to.equal('first');
      expect(await rig.port.sharedSecret('suppressions', 'second')).to.equal('first');
      await rig.reopen();
      expect(await rig.port.sharedSecret('suppressions', 'third')).to.equal('first');
    });

    it('keeps one per name', async () => {
      expect(await rig.port.sharedSecret('a', '1')).to.equal('1');
      expect(await rig.port.sharedSecret('b', '2')).to.equal('2');
    });

    it('tells all of twenty that come first at once the same', async () => {
      const candidates = Array.from({ length: 20 }, (_, racer) => `candidate ${racer}`);
      const agreed = new Set(await Promise.all(candidates.map((it) => rig.port.sharedSecret('suppressions', it))));
      expect(agreed).to.have.length(1);
      expect(candidates).to.include.members([...agreed]);
    });
  });
});
