import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { listen } from '../../support/listen.ts';

/** A reply (lines without their end), or `hang`, `reset` or `close` in its place; `unended ` before one: it is cut off. */
export type Step = string;

export type Stage = 'greeting' | 'ehlo' | 'starttls' | 'auth' | 'mail' | 'rcpt' | 'data' | 'content' | 'dot';

/** What the server does at each stage. `content`: while the message is still coming in. */
export type Script = Partial<Record<Stage, Step>>;

export interface ScriptedSmtp extends AsyncDisposable {
  readonly port: number;
  /** Every line of the client outside the message. */
  readonly commands: readonly string[];
  readonly connections: number;
  /** Resolves when a client has come to the stage. */
  reached(stage: Stage): Promise<void>;
  /** Calls back for every message that came whole. */
  onMessage(listener: () => void): void;
  /** As a server does with connections that it deems idle. */
  closeConnections(): void;
}

const GOOD: Record<Stage, Step> = {
  greeting: '220 scripted ESMTP',
  ehlo: '250-scripted\r\n250 PIPELINING',
  starttls: '220 go on',
  auth: '235 2.7.0 in',
  mail: '250 2.1.0 ok',
  rcpt: '250 2.1.5 ok',
  data: '354 go on',
  content: '',
  dot: '250 2.0.0 taken',
};

const VERBS: readonly (readonly [RegExp, Stage])[] = [
  [/^(EHLO|HELO)/i, 'ehlo'],
  [/^STARTTLS/i, 'starttls'],
  [/^AUTH/i, 'auth'],
  [/^MAIL/i, 'mail'],
  [/^RCPT/i, 'rcpt'],
  [/^DATA/i, 'data'],
];

/** A server that follows a script to the letter, for what a well-behaved one never does. */
export async function startScriptedSmtp(script: Script): Promise<ScriptedSmtp> {
  const commands: string[] = [];
  const reached = new Map<Stage, PromiseWithResolvers<void>>();
  const sockets = new Set<Socket>();
  const listeners: (() => void)[] = [];
  let connections = 0;

  const stageGate = (stage: Stage): PromiseWithResolvers<void> => {
    const gate = reached.get(stage) ?? Promise.withResolvers<void>();
    reached.set(stage, gate);
    return gate;
  };
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // Clients break off on purpose.
    socket.on('error', () => {});
    const play = (stage: Stage): Step => {
      stageGate(stage).resolve();
      if (stage === 'dot') for (const listener of listeners) listener();
      const step = script[stage] ?? GOOD[stage];
      if (step === 'reset') socket.resetAndDestroy();
      else if (step === 'close') socket.end();
      else if (step.startsWith('unended ')) socket.end(step.slice('unended '.length));
      else if (step !== 'hang' && step !== '') socket.write(`${step}\r\n`);
      return step;
    };
    play('greeting');
    converse(socket, play, commands);
  });
  const port = await listen(server);
  return {
    port,
    commands,
    get connections() {
      return connections;
    },
    reached: (stage) => stageGate(stage).promise,
    onMessage: (listener) => listeners.push(listener),
    closeConnections() {
      for (const socket of sockets) socket.end();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function converse(socket: Socket, play: (stage: Stage) => Step, commands: string[]): void {
  let pending = '';
  let inMessage = false;
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    pending += chunk;
    if (inMessage) play('content');
    for (let end = pending.indexOf('\r\n'); end >= 0; end = pending.indexOf('\r\n')) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 2);
      if (inMessage) {
        if (line !== '.') continue;
        inMessage = false;
        play('dot');
        continue;
      }
      commands.push(line);
      const stage = VERBS.find(([verb]) => verb.test(line))?.[1];
      if (stage === undefined) socket.write('250 2.0.0 ok\r\n');
      else if (play(stage).startsWith('354')) inMessage = true;
    }
  });
}
