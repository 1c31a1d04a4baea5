import { createSocket } from 'node:dgram';
import { once } from 'node:events';

export interface MxRecord {
  readonly priority: number;
  /** Empty: the root, which is no server (RFC 7505). */
  readonly exchange: string;
}

/** What is known of a name; a kind that is not given has no records. */
export interface DnsName {
  readonly mx?: readonly MxRecord[];
  /** As dotted quads. */
  readonly a?: readonly string[];
  /** Each as its 16 bytes in hex. */
  readonly aaaa?: readonly string[];
}

export type DnsReaction = DnsName | 'no such name' | 'server failure' | 'silence';

export interface StartedDns extends AsyncDisposable {
  /** As `Resolver.setServers` takes it. */
  readonly address: string;
  /** What was asked, in order, such as `MX example.com`. */
  readonly questions: readonly string[];
}

const KINDS: ReadonlyMap<number, 'a' | 'mx' | 'aaaa'> = new Map([
  [1, 'a'],
  [15, 'mx'],
  [28, 'aaaa'],
]);
const RCODES = { 'server failure': 2, 'no such name': 3 } as const;
/** A response to a standard query, with recursion asked for and had (RFC 1035 §4.1.1). */
const RESPONSE = 0x8180;
const HEADER_BYTES = 12;
const TTL_SECONDS = 60;

/** A real DNS server on a free UDP port that knows the names it is given; of another it says that there is none. */
export async function startDns(names: Readonly<Record<string, DnsReaction>>): Promise<StartedDns> {
  const questions: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const { name, type, end } = questionOf(query);
    questions.push(`${KINDS.get(type)?.toUpperCase() ?? type} ${name}`);
    const reaction = names[name] ?? 'no such name';
    if (reaction === 'silence') return;
    const records = typeof reaction === 'string' ? [] : recordsOf(reaction, type);
    const header = Buffer.from(query.subarray(0, HEADER_BYTES));
    header.writeUInt16BE(RESPONSE | (typeof reaction === 'string' ? RCODES[reaction] : 0), 2);
    header.writeUInt16BE(records.length, 6);
    // Nothing in the other sections: what the query says of itself (EDNS) is not sent back.
    header.fill(0, 8);
    socket.send(Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    async [Symbol.asyncDispose]() {
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  };
}

function questionOf(query: Buffer): { readonly name: string; readonly type: number; readonly end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function recordsOf(name: DnsName, type: number): Buffer[] {
  switch (KINDS.get(type)) {
    case 'mx':
      return (name.mx ?? []).map(({ priority, exchange }) =>
        record(type, Buffer.concat([Buffer.of(priority >> 8, priority & 0xff), encodeName(exchange)])),
      );
    case 'a':
      return (name.a ?? []).map((quad) => record(type, Buffer.from(quad.split('.').map(Number))));
    case 'aaaa':
      return (name.aaaa ?? []).map((hex) => record(type, Buffer.from(hex, 'hex')));
    case undefined:
      return [];
  }
}

/** Of the name that was asked for, which a pointer stands for (RFC 1035 §4.1.4). */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(TTL_SECONDS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function encodeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)])),
    Buffer.of(0),
  ]);
}
