import { expect } from 'chai';
import { systemRandom } from '../../src/domain/id.ts';
import type { Attachment, Notification } from '../../src/domain/notification.ts';
import { aKey, aNotification, aRendered, aSentNotification, SAMPLE_TIME, withState } from '../support/sample.ts';
import { onEach, storageAdapters } from './adapters.ts';

const HOUR = 3_600_000;
/** Above every id. */
const LAST_ID = 'ffffffff-ffff-7fff-bfff-ffffffffffff';
const FIRST_ID = '00000000-0000-7000-8000-000000000000';

onEach('storage, keys and upkeep', storageAdapters, (rig) => {
  const read = async (id: string): Promise<Notification | undefined> => (await rig.port.find([id]))[0];

  describe('reserveKeys', () => {
    it('writes records that are new and answers them in the order asked for', async () => {
      const records = ['b', 'a', 'c'].map((key) => aKey({ key, ids: [`${key}1`, `${key}2`] }));
      expect(await rig.port.reserveKeys(records)).to.deep.equal(records);
    });

    it('answers the record in force where one is', async () => {
      const first = aKey();
      await rig.port.reserveKeys([first]);
      const [fresh, repeat] = [
        aKey({ key: 'fresh' }),
        aKey({ fingerprint: 'b'.repeat(64), createdAt: SAMPLE_TIME + 1 }),
      ];
      expect(await rig.port.reserveKeys([fresh, repeat])).to.deep.equal([fresh, first]);
    });

    it('lets one of twenty that come at once win, and tells all of them which', async () => {
      const racing = Array.from({ length: 20 }, () => rig.port.reserveKeys([aKey()]));
      const groups = (await Promise.all(racing)).map(([record]) => record?.groupId);
      expect(new Set(groups)).to.have.length(1);
    });

    it('replaces a record that has expired', async () => {
      const old = aKey({ expiresAt: SAMPLE_TIME + 1_000 });
      await rig.port.reserveKeys([old]);
      const next = aKey({ createdAt: SAMPLE_TIME + 1_001, expiresAt: SAMPLE_TIME + HOUR });
      expect(await rig.port.reserveKeys([next])).to.deep.equal([next]);
    });

    it('lets one of many win when they replace an expired one at once', async () => {
      await rig.port.reserveKeys([aKey()]);
      const racing = Array.from({ length: 20 }, () =>
        rig.port.reserveKeys([aKey({ createdAt: SAMPLE_TIME + 2_000, expiresAt: SAMPLE_TIME + HOUR })]),
      );
      const records = (await Promise.all(racing)).map(([record]) => record);
      expect(new Set(records.map((record) => record?.groupId))).to.have.length(1);
      expect(records[0]?.createdAt).to.equal(SAMPLE_TIME + 2_000);
    });

    it('keeps the keys of tenants apart', async () => {
      const records = ['a', 'b'].map((tenant) => aKey({ tenant }));
      expect(await rig.port.reserveKeys(records)).to.deep.equal(records);
    });

    it('does not mix up tenants and keys that read the same together', async () => {
      const records = [aKey({ tenant: 'a', key: 'b:c' }), aKey({ tenant: 'a:b', key: 'c' })];
      expect(await rig.port.reserveKeys(records)).to.deep.equal(records);
    });
  });

  describe('findKey', () => {
    it('answers the record of a key until it ends, and only to its tenant', async () => {
      const record = aKey({ expiresAt: SAMPLE_TIME + 1_000 });
      const { tenant, key } = record;
      await rig.port.reserveKeys([record]);
      expect(await rig.port.findKey(tenant, key, SAMPLE_TIME + 999)).to.deep.equal(record);
      expect(await rig.port.findKey(tenant, key, SAMPLE_TIME + 1_000)).to.equal(undefined);
      expect(await rig.port.findKey('another', key, SAMPLE_TIME)).to.equal(undefined);
      expect(await rig.port.findKey(tenant, 'another', SAMPLE_TIME)).to.equal(undefined);
    });
  });

  describe('attachments', () => {
    const everyByte: Attachment = {
      filename: 'añejo.bin',
      mimeType: 'application/octet-stream',
      content: Uint8Array.from({ length: 256 }, (_, byte) => byte),
      contentId: 'logo',
    };
    const plain = (content: Uint8Array): Attachment => ({ filename: 'a.txt', mimeType: 'text/plain', content });
    const comparable = (files: readonly Attachment[]): unknown =>
      files.map(({ content, ...file }) => ({ ...file, content: Buffer.from(content).toString('hex') }));

    it('gives files back byte by byte and in order', async () => {
      const files = [
        everyByte,
        plain(new Uint8Array()),
        plain(Buffer.from('a view of a shared buffer').subarray(2, 6)),
      ];
      await rig.port.saveAttachments('n1', files);
      await rig.reopen();
      expect(comparable(await rig.port.loadAttachments('n1'))).to.deep.equal(comparable(files));
    });

    it('takes as much as a notification may carry', async () => {
      const content = new Uint8Array(10 * 1_000 * 1_000).map((_, index) => index % 251);
      await rig.port.saveAttachments('n1', [plain(content)]);
      const [file] = await rig.port.loadAttachments('n1');
      expect(Buffer.compare(file?.content ?? new Uint8Array(), content)).to.equal(0);
    });

    it('leaves what is there as it is when it is saved again', async () => {
      await rig.port.saveAttachments('n1', [everyByte]);
      await rig.port.saveAttachments('n1', [plain(Uint8Array.of(1))]);
      expect(comparable(await rig.port.loadAttachments('n1'))).to.deep.equal(comparable([everyByte]));
    });

    it('has none for a notification that has none', async () => {
      await rig.port.saveAttachments('n1', [everyByte]);
      expect(await rig.port.loadAttachments('n2')).to.deep.equal([]);
    });
  });

  describe('limits', () => {
    it('starts at 0 and moves from what is expected only', async () => {
      expect(await rig.port.readLimit('email')).to.equal(0);
      expect(await rig.port.swapLimit('email', 5, 10)).to.equal(false);
      expect(await rig.port.readLimit('email')).to.equal(0);
      expect(await rig.port.swapLimit('email', 0, SAMPLE_TIME + 0.25)).to.equal(true);
      expect(await rig.port.readLimit('email')).to.equal(SAMPLE_TIME + 0.25);
      expect(await rig.port.swapLimit('email', 0, 7)).to.equal(false);
      expect(await rig.port.swapLimit('email', SAMPLE_TIME + 0.25, SAMPLE_TIME + 1)).to.equal(true);
      expect(await rig.port.readLimit('email')).to.equal(SAMPLE_TIME + 1);
      expect(await rig.port.readLimit('sms')).to.equal(0);
    });

    for (const expected of [0, 100]) {
      it(`lets one of twenty that move it from ${expected} at once win`, async () => {
        if (expected > 0) await rig.port.swapLimit('email', 0, expected);
        const racing = Array.from({ length: 20 }, (_, racer) => rig.port.swapLimit('email', expected, 1_000 + racer));
        const won = await Promise.all(racing);
        expect(won.filter(Boolean)).to.have.length(1);
        expect(await rig.port.readLimit('email')).to.equal(1_000 + won.indexOf(true));
      });
    }
  });

  describe('leases', () => {
    it('keeps others out until it ends', async () => {
      expect(await rig.port.acquireLease('leader', 'a', 0, 100)).to.equal(true);
      expect(await rig.port.acquireLease('leader', 'b', 99, 200)).to.equal(false);
      expect(await rig.port.acquireLease('other', 'b', 99, 200)).to.equal(true);
      expect(await rig.port.acquireLease('leader', 'b', 101, 200)).to.equal(true);
      expect(await rig.port.acquireLease('leader', 'a', 150, 300)).to.equal(false);
    });

    it('is renewed by its holder', async () => {
      await rig.port.acquireLease('leader', 'a', 0, 100);
      expect(await rig.port.acquireLease('leader', 'a', 50, 150)).to.equal(true);
      expect(await rig.port.acquireLease('leader', 'b', 120, 200)).to.equal(false);
    });

    it('is given back by its holder alone', async () => {
      await rig.port.acquireLease('leader', 'a', 0, 100);
      await rig.port.releaseLease('leader', 'b');
      expect(await rig.port.acquireLease('leader', 'b', 10, 200)).to.equal(false);
      await rig.port.releaseLease('leader', 'a');
      expect(await rig.port.acquireLease('leader', 'b', 10, 200)).to.equal(true);
    });

    it('goes to one of twenty that want it at once', async () => {
      const racing = Array.from({ length: 20 }, (_, racer) => rig.port.acquireLease('leader', `p${racer}`, 0, 100));
      expect((await Promise.all(racing)).filter(Boolean)).to.have.length(1);
    });
  });

  describe('retention', () => {
    const SETTLED = SAMPLE_TIME + HOUR;
    const withContent = { data: { name: 'Ana' }, content: { subject: 's' } };
    const settled = (second: number, state: Partial<Notification['state']> = {}): Notification =>
      aSentNotification({
        spec: { ...withContent, createdAt: SAMPLE_TIME + second * 1_000 },
        state: { updatedAt: SETTLED - 1, ...state },
        rendered: aRendered(),
      });

    it('erases data, content, rendered content and attachments, and nothing else', async () => {
      const row = settled(0);
      await rig.port.insert([row]);
      const file = { filename: 'a', mimeType: 'text/plain', content: Uint8Array.of(1) };
      await rig.port.saveAttachments(row.spec.id, [file]);
      expect(await rig.port.eraseContent(FIRST_ID, LAST_ID, SETTLED, 10)).to.equal(row.spec.id);
      const { data: _data, content: _content, ...spec } = row.spec;
      expect(await read(row.spec.id)).to.deep.equal({ spec, state: row.state });
      expect(await rig.port.loadAttachments(row.spec.id)).to.deep.equal([]);
    });

    it('goes on from step to step until none is left', async () => {
      const rows = [0, 1, 2, 3, 4].map((second) => settled(second));
      await rig.port.insert(rows);
      const ids = rows.map(({ spec }) => spec.id);
      const first = await rig.port.eraseContent(FIRST_ID, LAST_ID, SETTLED, 2);
      expect(first).to.equal(ids[1]);
      expect((await read(ids[2] ?? ''))?.spec.data).to.deep.equal(withContent.data);
      let last = first;
      for (let step = 0; last !== undefined && step < 10; step += 1) {
        last = await rig.port.eraseContent(last, LAST_ID, SETTLED, 2);
      }
      expect(last).to.equal(undefined);
      for (const { spec } of await rig.port.find(ids)) expect(spec).to.not.have.any.keys('data', 'content');
    });

    it('erases within its range of ids, and passes over what is not final or changed of late', async () => {
      const below = settled(0);
      const within = settled(1);
      const open = aNotification({ spec: { ...withContent, createdAt: SAMPLE_TIME + 2_000 }, state: { updatedAt: 1 } });
      const changed = settled(3, { updatedAt: SETTLED + 1 });
      const alsoWithin = settled(4, { status: 'failed', reason: 'rejected' });
      const above = settled(5);
      await rig.port.insert([below, within, open, changed, alsoWithin, above]);
      const last = await rig.port.eraseContent(below.spec.id, above.spec.id, SETTLED, 10);
      expect(last).to.equal(alsoWithin.spec.id);
      for (const kept of [below, open, changed, above]) expect(await read(kept.spec.id)).to.deep.equal(kept);
      for (const { spec } of [within, alsoWithin]) {
        expect((await read(spec.id))?.spec).to.not.have.any.keys('data', 'content');
      }
    });

    it('finds later what was not due when it passed by', async () => {
      const row = settled(0, { updatedAt: SETTLED + 1 });
      await rig.port.insert([row]);
      await rig.port.eraseContent(FIRST_ID, LAST_ID, SETTLED, 10);
      expect(await read(row.spec.id)).to.deep.equal(row);
      expect(await rig.port.eraseContent(FIRST_ID, LAST_ID, SETTLED + HOUR, 10)).to.equal(row.spec.id);
      expect((await read(row.spec.id))?.spec).to.not.have.any.keys('data', 'content');
    });

    it('lets an erased row be written on', async () => {
      const row = settled(0, { status: 'failed', reason: 'rejected' });
      await rig.port.insert([row]);
      await rig.port.eraseContent(FIRST_ID, LAST_ID, SETTLED, 10);
      const next = withState(row, { version: 2, status: 'queued', run: 2 });
      expect(await rig.port.update([{ from: 1, row: next }])).to.deep.equal([true]);
      expect((await read(row.spec.id))?.state).to.deep.equal(next.state);
      expect((await read(row.spec.id))?.spec).to.not.have.any.keys('data', 'content');
    });

    it('deletes final rows that are below and settled, in steps, with their attachments', async () => {
      const rows = [0, 1, 2].map((second) => settled(second));
      const open = aNotification({ state: { updatedAt: 1 } });
      const changed = settled(3, { updatedAt: SETTLED + 1 });
      const above = settled(4);
      await rig.port.insert([...rows, open, changed, above]);
      const file = { filename: 'a', mimeType: 'text/plain', content: Uint8Array.of(1) };
      for (const { spec } of [...rows, changed]) await rig.port.saveAttachments(spec.id, [file]);
      expect(await rig.port.deleteRows(above.spec.id, SETTLED, 2)).to.equal(2);
      expect(await rig.port.deleteRows(above.spec.id, SETTLED, 2)).to.equal(1);
      expect(await rig.port.deleteRows(above.spec.id, SETTLED, 2)).to.equal(0);
      const left = await rig.port.find([...rows, open, changed, above].map(({ spec }) => spec.id));
      expect(left).to.have.deep.members([open, changed, above]);
      for (const { spec } of rows) expect(await rig.port.loadAttachments(spec.id)).to.deep.equal([]);
      expect(await rig.port.loadAttachments(changed.spec.id)).to.have.length(1);
    });

    it('takes an id that was deleted as a new one', async () => {
      const row = settled(0);
      await rig.port.insert([row]);
      await rig.port.deleteRows(LAST_ID, SETTLED, 10);
      const again = aNotification({ spec: { id: row.spec.id } });
      await rig.port.insert([again]);
      expect(await read(row.spec.id)).to.deep.equal(again);
    });

    it('deletes idempotency keys that ended, in steps', async () => {
      const ended = ['a', 'b', 'c'].map((key) => aKey({ key, expiresAt: SAMPLE_TIME + 1 }));
      const live = aKey({ key: 'live', expiresAt: SAMPLE_TIME + HOUR });
      await rig.port.reserveKeys([...ended, live]);
      expect(await rig.port.deleteKeys(SAMPLE_TIME, 2)).to.equal(0);
      expect(await rig.port.deleteKeys(SAMPLE_TIME + 1_000, 2)).to.equal(2);
      expect(await rig.port.deleteKeys(SAMPLE_TIME + 1_000, 2)).to.equal(1);
      const repeat = aKey({ key: 'live', ids: [systemRandom.id(SAMPLE_TIME)] });
      expect(await rig.port.reserveKeys([repeat])).to.deep.equal([live]);
    });
  });
});
