import { expect } from 'chai';
import type { NotificationSpec, NotificationState } from '../src/domain/notification.ts';
import { CarillonError } from '../src/errors.ts';
import { createEvents } from '../src/events.ts';
import { describeError, openLog, scrub } from '../src/log.ts';
import { recordEvents } from './support/record-events.ts';

const spec: NotificationSpec = {
  id: '019b0000-0000-7000-8000-000000000001',
  tenant: 'default',
  groupId: '019b0000-0000-7000-8000-000000000002',
  type: 'password_reset',
  channel: 'email',
  priority: 'urgent',
  category: 'security',
  recipient: { id: 'customer-7', email: 'ana@private.example', phone: '+15551230000', firstName: 'Ana' },
  data: { code: '424242' },
  content: { subject: 'Your code', textBody: 'The code is 424242' },
  unknownOutcome: 'hold',
  metadata: { note: 'vip' },
  attachmentCount: 0,
  createdAt: 0,
};

const state: NotificationState = {
  version: 3,
  published: 0,
  status: 'failed',
  reason: 'rejected',
  dueAt: 0,
  run: 1,
  attempt: 2,
  starts: 0,
  cancelRequested: false,
  targets: [{ address: 'ana@private.example' }],
  attempts: [],
  receipts: [],
  history: [],
  updatedAt: 0,
};

const PRIVATE = /ana@|private\.example|\+1555|424242|Your code|Ana\b|vip|hunter2/;

describe('events', () => {
  it('tell of a notification what identifies it, and neither address nor content', () => {
    const { events, lines } = recordEvents();
    events.accepted(spec, state);
    events.settled(spec, state);
    events.attemptEnded(spec, 'smtp', [{ target: 0, result: { outcome: 'permanent_failure' } }], 12);
    expect(lines).to.have.length(3);
    for (const { fields } of lines) {
      expect(fields['id']).to.equal(spec.id);
      expect(JSON.stringify(fields)).to.not.match(PRIVATE);
    }
  });

  it('warn of what failed for good, and are quiet about what went well', () => {
    const { events, lines } = recordEvents();
    events.settled(spec, state);
    events.settled(spec, { ...state, status: 'sent' });
    expect(lines.map(({ level }) => level)).to.deep.equal(['warn', 'debug']);
  });

  it('warn of a provider that refuses this service, with its own code', () => {
    const { events, lines } = recordEvents();
    const refused = { target: 0, result: { outcome: 'provider_error', code: '401' } } as const;
    events.attemptEnded(spec, 'sendgrid', [refused], 12);
    expect(lines[0]).to.deep.include({ level: 'warn' });
    expect(lines[0]?.fields['codes']).to.deep.equal(['401']);
  });

  it('tell a callback that was refused once in 10 s, however often strangers call', () => {
    const { events, lines } = recordEvents(() => 0);
    for (let i = 0; i < 5; i += 1) events.callbackRefused('sendgrid', 'no valid signature');
    expect(lines).to.have.length(1);
    expect(lines[0]?.fields).to.include({ why: 'no valid signature' }).and.not.have.property('err');
  });

  it('log a failure that repeats with every retry once in 10 s, and count the rest', () => {
    let now = 0;
    const { events, lines } = recordEvents(() => now);
    for (let i = 0; i < 5; i += 1) events.storeFailed('settle', new Error('down'));
    events.storeFailed('claim', new Error('down'));
    expect(lines.map(({ fields }) => fields['step'])).to.deep.equal(['settle', 'claim']);
    now = 10_000;
    events.storeFailed('settle', new Error('down'));
    expect(lines.at(-1)?.fields['leftOut']).to.equal(4);
  });

  it('keep the cause of an internal error', () => {
    const { events, lines } = recordEvents();
    const cause = new Error('the disk is gone', { cause: new Error('EIO') });
    events.callFailed({ method: 'm', protocol: 'grpc' }, CarillonError.from(cause));
    expect(lines[0]?.fields).to.have.nested.property('err.cause.cause.message', 'EIO');
  });

  it('tell of calls that fail for what is away only now and then', () => {
    const { events, lines } = recordEvents(() => 0);
    const away = new CarillonError('STORE_UNAVAILABLE', 'away', { cause: new Error('refused') });
    for (let i = 0; i < 3; i += 1) events.callFailed({ method: 'm', protocol: 'grpc' }, away);
    expect(lines.map(({ fields }) => fields['event'])).to.deep.equal(['call_failed']);
  });
});

describe('the log', () => {
  const logged = (format: 'json' | 'pretty', fields: Record<string, unknown>): string => {
    const lines: string[] = [];
    openLog({ level: 'info', format }, { write: (line) => lines.push(line) }).info(fields, 'words');
    return lines.join('');
  };

  it('writes one JSON object a line, with the level by name', () => {
    const line: unknown = JSON.parse(logged('json', { event: 'x' }));
    expect(line).to.include({ level: 'info', event: 'x', msg: 'words' });
  });

  it('writes a line for people', () => {
    const line = logged('pretty', { event: 'x' });
    expect(line).to.include('INFO').and.include('words').and.include('event=x');
    expect(line.trimEnd().split('\n')).to.have.length(1);
  });

  it('leaves out lines below its level', () => {
    const lines: string[] = [];
    const log = openLog({ level: 'warn', format: 'json' }, { write: (line) => lines.push(line) });
    createEvents(log).queueBack();
    createEvents(log).queueUnreachable(new Error('down'));
    expect(lines).to.have.length(1);
  });

  it('blots out fields that hold a person or a secret, should an event ever write one', () => {
    const fields = {
      email: 'ana@private.example',
      spec: { recipient: { email: 'ana@private.example' }, content: spec.content },
      password: 'hunter2',
    };
    expect(logged('json', fields)).to.not.match(PRIVATE);
    expect(logged('pretty', fields)).to.not.match(PRIVATE);
  });

  for (const [what, text] of [
    ['an e-mail address', '550 <ana@private.example> unknown'],
    ['a phone number', 'To: +15551230000 is not valid'],
    ['credentials in an address', 'connect mongodb://root:hunter2@db:27017/ failed'],
    ['an API key', 'authorization: Bearer hunter2'],
    ['the path of a webhook', 'POST https://hooks.example.com/services/hunter2 failed'],
    ['a signing key', 'bad key whsec_hunter2hunter2'],
    ['a device token', `token ${'hunter2:'.repeat(12)} is gone`],
  ] as const) {
    it(`leaves ${what} out of the words of an error`, () => {
      expect(scrub(text)).to.not.match(PRIVATE);
      expect(JSON.stringify(describeError(new Error('outer', { cause: new Error(text) })))).to.not.match(PRIVATE);
    });
  }

  it('leaves out what drivers hang on their errors', () => {
    const error = Object.assign(new Error('bulk write'), { code: 11000, document: spec });
    expect(describeError(error)).to.include({ code: 11000 });
    expect(JSON.stringify(describeError(error))).to.not.match(PRIVATE);
  });

  it('describes an error whose causes form a ring', () => {
    const error = new Error('a');
    error.cause = error;
    expect(JSON.stringify(describeError(error)).length).to.be.below(20_000);
  });
});
