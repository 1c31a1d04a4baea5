import { expect } from 'chai';
import type { Notification } from '../../src/domain/notification.ts';
import {
  aFullNotification,
  aNotification,
  aRendered,
  aSentNotification,
  SAMPLE_TIME,
  withState,
} from '../support/sample.ts';
import { onEach, storageAdapters } from './adapters.ts';

const idsOf = (rows: readonly Notification[]): string[] => rows.map(({ spec }) => spec.id);

onEach('storage, rows', storageAdapters, (rig) => {
  const insert = async (...rows: Notification[]): Promise<void> => rig.port.insert(rows);
  const read = async (id: string): Promise<Notification | undefined> => (await rig.port.find([id]))[0];

  it('answers a ping', () => rig.port.ping());

  describe('insert and find', () => {
    it('gives back a row with every optional field as it was', async () => {
      const row = aFullNotification();
      await insert(row);
      expect(await rig.port.find([row.spec.id])).to.deep.equal([row]);
    });

    it('leaves absent what was absent', async () => {
      const row = aNotification({ spec: { recipient: {} } });
      await insert(row);
      expect(await read(row.spec.id)).to.deep.equal(row);
      const settled = aSentNotification();
      await insert(settled);
      expect(await read(settled.spec.id)).to.deep.equal(settled);
    });

    it('keeps every character of every script', async () => {
      const text = 'Ünïcôdé, 日本語, עברית, 👩‍👩‍👧, e\u0301, \u2028, "quoted" \\ $set {{x}} %s \u0001';
      const row = aNotification({
        spec: { recipient: { id: text, firstName: text }, metadata: { [text]: text }, data: { 'a.b': { $c: text } } },
        rendered: aRendered({ content: { subject: text, textBody: text } }),
      });
      await insert(row);
      expect(await read(row.spec.id)).to.deep.equal(row);
    });

    it('takes a megabyte of HTML, in the spec and rendered', async () => {
      const htmlBody = '<p>ü</p>'.repeat(128 * 1_024);
      const row = aNotification({ spec: { content: { htmlBody } }, rendered: aRendered({ content: { htmlBody } }) });
      await insert(row);
      const claimed = withState(row, { version: 2, status: 'processing' });
      expect(await rig.port.update([{ from: 1, row: claimed }])).to.deep.equal([true]);
      expect(await read(row.spec.id)).to.deep.equal(claimed);
    });

    it('leaves a row that is there as it is, and inserts the others of the call', async () => {
      const [first, second] = [aNotification(), aNotification()];
      await insert(first);
      const again = aNotification({
        spec: { ...first.spec, type: 'other' },
        state: { status: 'failed', version: 5 },
        rendered: aRendered(),
      });
      await insert(again, second);
      expect(await read(first.spec.id)).to.deep.equal(first);
      expect(await read(second.spec.id)).to.deep.equal(second);
    });

    it('inserts a row once when many calls do it at once', async () => {
      const row = aNotification();
      await Promise.all(Array.from({ length: 20 }, () => insert(row)));
      expect(await rig.port.list({ tenant: 'default', limit: 10 })).to.deep.equal([row]);
    });

    it('takes hundreds of rows in one call', async () => {
      const rows = Array.from({ length: 300 }, () => aNotification());
      await insert(...rows);
      expect(idsOf(await rig.port.find(idsOf(rows)))).to.have.members(idsOf(rows));
    });

    it('takes no rows at all', async () => {
      await rig.port.insert([]);
      expect(await rig.port.update([])).to.deep.equal([]);
      await rig.port.clear([]);
      await rig.port.postpone([]);
      expect(await rig.port.find([])).to.deep.equal([]);
    });

    it('finds what exists of the ids asked for', async () => {
      const [first, second, other] = [aNotification(), aNotification(), aNotification()];
      await insert(first, second, other);
      const found = await rig.port.find([second.spec.id, aNotification().spec.id, first.spec.id]);
      expect(idsOf(found)).to.have.members([first.spec.id, second.spec.id]);
    });

    it('has after a new opening what it had before', async () => {
      const row = aFullNotification();
      await insert(row);
      await rig.reopen();
      expect(await read(row.spec.id)).to.deep.equal(row);
    });
  });

  describe('update', () => {
    it('writes a state whose version is the expected one', async () => {
      const row = aNotification();
      await insert(row);
      const next = withState(row, { version: 2, status: 'processing', lease: { id: 'l', until: 9 }, attempt: 1 });
      expect(await rig.port.update([{ from: 1, row: next }])).to.deep.equal([true]);
      expect(await read(row.spec.id)).to.deep.equal(next);
    });

    it('forgets what the new state leaves out', async () => {
      const row = aNotification({ state: { reason: 'retrying', lease: { id: 'l', until: 9 }, heldSince: 5 } });
      await insert(row);
      const { wakeAt: _w, enqueuedAt: _e, reason: _r, lease: _l, heldSince: _h, ...rest } = row.state;
      const next: Notification = { ...row, state: { ...rest, version: 2, status: 'sent' } };
      await rig.port.update([{ from: 1, row: next }]);
      expect(await read(row.spec.id)).to.deep.equal(next);
      expect(await rig.port.due(Number.MAX_SAFE_INTEGER, 10)).to.deep.equal([]);
    });

    it('answers false for another version and for a row that is not there, and changes nothing', async () => {
      const row = aNotification({ state: { version: 3 } });
      await insert(row);
      const next = withState(row, { version: 3, status: 'failed' });
      const answers = await rig.port.update([
        { from: 2, row: next, rendered: aRendered() },
        { from: 4, row: next },
        { from: 1, row: aNotification() },
      ]);
      expect(answers).to.deep.equal([false, false, false]);
      expect(await read(row.spec.id)).to.deep.equal(row);
    });

    it('decides row by row', async () => {
      const rows = [aNotification(), aNotification({ state: { version: 7 } }), aNotification()];
      await insert(...rows);
      const changes = rows.map((row) => ({ from: 1, row: withState(row, { version: 2, status: 'processing' }) }));
      expect(await rig.port.update(changes)).to.deep.equal([true, false, true]);
    });

    it('lets exactly one of many racing writers win', async () => {
      const row = aNotification();
      await insert(row);
      const racing = Array.from({ length: 20 }, (_, racer) =>
        rig.port.update([{ from: 1, row: withState(row, { version: 2, status: 'processing', starts: racer }) }]),
      );
      const won = (await Promise.all(racing)).map(([answer]) => answer);
      expect(won.filter(Boolean)).to.have.length(1);
      expect((await read(row.spec.id))?.state.starts).to.equal(won.indexOf(true));
    });

    it('lets one of two changes of the same row in one call win', async () => {
      const row = aNotification();
      await insert(row);
      const answers = await rig.port.update(
        [1, 2].map((starts) => ({ from: 1, row: withState(row, { version: 2, starts }) })),
      );
      expect(answers.filter(Boolean)).to.have.length(1);
      expect((await read(row.spec.id))?.state.starts).to.equal(answers.indexOf(true) + 1);
    });

    it('replaces the rendered content only where it is given', async () => {
      const row = aNotification({ rendered: aRendered() });
      await insert(row);
      const { rendered: _, ...second } = withState(row, { version: 2 });
      await rig.port.update([{ from: 1, row: second }]);
      expect((await read(row.spec.id))?.rendered).to.deep.equal(aRendered());
      const rendered = aRendered({ content: { smsBody: 'new' } });
      await rig.port.update([{ from: 2, row: withState(row, { version: 3 }), rendered }]);
      expect((await read(row.spec.id))?.rendered).to.deep.equal(rendered);
    });

    it('never changes the spec', async () => {
      const row = aNotification();
      await insert(row);
      const changed = aNotification({ spec: { ...row.spec, type: 'other' }, state: { version: 2 } });
      await rig.port.update([{ from: 1, row: changed }]);
      expect((await read(row.spec.id))?.spec).to.deep.equal(row.spec);
    });
  });

  describe('clear and postpone', () => {
    it('clears events and leaves the version and all the rest alone', async () => {
      const row = aNotification({ state: { version: 2 } });
      await insert(row);
      await rig.port.clear([{ id: row.spec.id, version: 2, published: 2, wakeAt: 77 }]);
      expect(await read(row.spec.id)).to.deep.equal(withState(row, { published: 2, wakeAt: 77 }));
    });

    it('clears the wake time where nothing is left to do', async () => {
      const row = aNotification();
      await insert(row);
      await rig.port.clear([{ id: row.spec.id, version: 1, published: 1 }]);
      const state = (await read(row.spec.id))?.state;
      expect(state).to.include({ version: 1, published: 1 }).and.not.have.property('wakeAt');
      expect(await rig.port.due(Number.MAX_SAFE_INTEGER, 10)).to.deep.equal([]);
    });

    it('postpones the wake time alone', async () => {
      const row = aNotification();
      await insert(row);
      await rig.port.postpone([{ id: row.spec.id, version: 1, wakeAt: 1_234 }]);
      expect(await read(row.spec.id)).to.deep.equal(withState(row, { wakeAt: 1_234 }));
    });

    it('leaves rows that moved on as they are, and does the others', async () => {
      const [moved, still] = [aNotification({ state: { version: 2 } }), aNotification()];
      await insert(moved, still);
      await rig.port.clear([moved, still].map(({ spec }) => ({ id: spec.id, version: 1, published: 1, wakeAt: 5 })));
      await rig.port.postpone([moved, still].map(({ spec }) => ({ id: spec.id, version: 1, wakeAt: 6 })));
      expect(await read(moved.spec.id)).to.deep.equal(moved);
      expect(await read(still.spec.id)).to.deep.equal(withState(still, { published: 1, wakeAt: 6 }));
    });

    it('does not stand in the way of an update of the same version', async () => {
      const row = aNotification();
      await insert(row);
      await rig.port.clear([{ id: row.spec.id, version: 1, published: 1, wakeAt: 5 }]);
      const next = withState(row, { version: 2, published: 1 });
      expect(await rig.port.update([{ from: 1, row: next }])).to.deep.equal([true]);
      expect(await read(row.spec.id)).to.deep.equal(next);
    });
  });

  describe('list', () => {
    const at = (second: number): number => SAMPLE_TIME + second * 1_000;
    const accepted = (second: number, spec: Partial<Notification['spec']> = {}): Notification =>
      aNotification({ spec: { createdAt: at(second), ...spec } });

    it('answers the newest first, page by page', async () => {
      const rows = [0, 1, 2, 3, 4].map((second) => accepted(second));
      await insert(...rows);
      const newestFirst = idsOf(rows).toReversed();
      const first = await rig.port.list({ tenant: 'default', limit: 2 });
      expect(idsOf(first)).to.deep.equal(newestFirst.slice(0, 2));
      const belowId = newestFirst[1] ?? '';
      expect(idsOf(await rig.port.list({ tenant: 'default', belowId, limit: 10 }))).to.deep.equal(newestFirst.slice(2));
    });

    for (const filter of ['recipientId', 'groupId', 'status'] as const) {
      it(`narrows by ${filter} alone, with paging and time`, async () => {
        const wanted = [0, 1, 2, 3].map((second) =>
          aNotification({
            spec: { createdAt: at(second), groupId: 'g', recipient: { id: 'r' } },
            state: { status: 'failed' },
          }),
        );
        const others = [0, 1, 2, 3].map((second) => accepted(second, { recipient: {} }));
        await insert(...wanted, ...others);
        const by = {
          recipientId: { recipientId: 'r' },
          groupId: { groupId: 'g' },
          status: { status: 'failed' },
        } as const;
        const query = { tenant: 'default', limit: 10, ...by[filter] };
        const newestFirst = idsOf(wanted).toReversed();
        expect(idsOf(await rig.port.list(query))).to.deep.equal(newestFirst);
        expect(idsOf(await rig.port.list({ ...query, limit: 3 }))).to.deep.equal(newestFirst.slice(0, 3));
        const belowId = newestFirst[2] ?? '';
        expect(idsOf(await rig.port.list({ ...query, belowId }))).to.deep.equal(newestFirst.slice(3));
        const ranged = await rig.port.list({ ...query, from: at(1), before: at(3) });
        expect(idsOf(ranged)).to.deep.equal(newestFirst.slice(1, 3));
      });
    }

    it('follows a status that changes', async () => {
      const row = aNotification();
      await insert(row);
      await rig.port.update([{ from: 1, row: withState(row, { version: 2, status: 'processing' }) }]);
      expect(await rig.port.list({ tenant: 'default', status: 'queued', limit: 10 })).to.deep.equal([]);
      const processing = await rig.port.list({ tenant: 'default', status: 'processing', limit: 10 });
      expect(idsOf(processing)).to.deep.equal([row.spec.id]);
    });

    it('takes the start of a time range in and leaves its end out', async () => {
      const rows = [0, 1, 2].map((second) => accepted(second));
      await insert(...rows);
      const found = await rig.port.list({ tenant: 'default', from: at(1), before: at(2), limit: 10 });
      expect(idsOf(found)).to.deep.equal(idsOf(rows).slice(1, 2));
    });

    it('holds to both the page and the time range', async () => {
      const rows = [0, 1, 2, 3].map((second) => accepted(second));
      await insert(...rows);
      const [, one, two, three] = idsOf(rows);
      const below = await rig.port.list({
        tenant: 'default',
        before: at(3),
        belowId: two ?? '',
        from: at(1),
        limit: 9,
      });
      expect(idsOf(below)).to.deep.equal([one]);
      const before = await rig.port.list({
        tenant: 'default',
        before: at(2),
        belowId: three ?? '',
        from: at(1),
        limit: 9,
      });
      expect(idsOf(before)).to.deep.equal([one]);
    });

    it('shows a tenant nothing of another one', async () => {
      const spec = { recipient: { id: 'r' }, groupId: 'g' };
      const [mine, theirs] = [accepted(0, { ...spec, tenant: 'mine' }), accepted(0, { ...spec, tenant: 'theirs' })];
      await insert(mine, theirs);
      for (const filter of [{}, { recipientId: 'r' }, { groupId: 'g' }, { status: 'queued' }] as const) {
        expect(await rig.port.list({ tenant: 'mine', limit: 10, ...filter })).to.deep.equal([mine]);
      }
    });
  });

  describe('due', () => {
    it('answers rows whose wake time has come, earliest first, up to the limit', async () => {
      const wakes = [300, 100, 201, 200, undefined];
      const rows = wakes.map((wakeAt) =>
        wakeAt === undefined ? aSentNotification() : aNotification({ state: { wakeAt } }),
      );
      await insert(...rows);
      const [late, early, notYet, middle] = idsOf(rows);
      expect(idsOf(await rig.port.due(200, 10))).to.deep.equal([early, middle]);
      expect(idsOf(await rig.port.due(1_000, 3))).to.deep.equal([early, middle, notYet]);
      expect(idsOf(await rig.port.due(1_000, 10)).at(-1)).to.equal(late);
      expect(await rig.port.due(99, 10)).to.deep.equal([]);
    });

    it('answers whole rows of every tenant', async () => {
      const rows = ['a', 'b'].map((tenant, index) =>
        aNotification({ spec: { tenant }, state: { wakeAt: index }, rendered: aRendered() }),
      );
      await insert(...rows);
      expect(await rig.port.due(10, 10)).to.deep.equal(rows);
    });
  });

  describe('countQueued', () => {
    it('counts the QUEUED rows of the lane alone, and no further than the limit', async () => {
      const queued = Array.from({ length: 5 }, () => aNotification());
      await insert(
        ...queued,
        aNotification({ state: { status: 'processing' } }),
        aNotification({ spec: { priority: 'high' } }),
        aNotification({ spec: { channel: 'sms' } }),
      );
      const lane = { channel: 'email', priority: 'normal' } as const;
      expect(await rig.port.countQueued(lane, 100)).to.equal(5);
      expect(await rig.port.countQueued(lane, 3)).to.equal(3);
      const [first] = queued;
      if (first) await rig.port.update([{ from: 1, row: withState(first, { version: 2, status: 'processing' }) }]);
      expect(await rig.port.countQueued(lane, 100)).to.equal(4);
      expect(await rig.port.countQueued({ channel: 'push', priority: 'low' }, 100)).to.equal(0);
    });
  });
});
