/**
 * The services of all providers in one process of its own, which takes every message and keeps none: HTTP/1.1, and for APNs
 * and browsers HTTP/2 or HTTP/1.1 over TLS. Prints where it is as one line of JSON.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import { answerTo } from './answers.ts';

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../test/providers/fixtures/${name}`, import.meta.url));

function take(request: IncomingMessage | Http2ServerRequest, respond: (path: string) => void): void {
  request.once('end', () => respond(request.url ?? ''));
  request.resume();
}

function respond(response: ServerResponse | Http2ServerResponse, path: string): void {
  const { status, headers = {}, body = '' } = answerTo(path);
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end(body);
}

async function portOf(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the double listens on a port');
  return address.port;
}

const plain = createServer((request, response) => take(request, (path) => respond(response, path)));
const caFile = fixture('localhost-cert.pem');
const key = await readFile(fixture('localhost-key.pem'));
const secure = createSecureServer({ key, cert: await readFile(caFile), allowHTTP1: true }, (request, response) =>
  take(request, (path) => respond(response, path)),
);
const http = `http://127.0.0.1:${await portOf(plain)}`;
const tls = `https://127.0.0.1:${await portOf(secure)}`;
process.stdout.write(`${JSON.stringify({ http, tls, caFile })}\n`);
