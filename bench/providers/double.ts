/**
 * The services of all providers in one process of its own, which takes every message and keeps none: HTTP/1.1, and for APNs
 * and browsers HTTP/2 or HTTP/1.1 over TLS. Prints where it is as one line of JSON.
 */
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { listen } from '../../test/support/listen.ts';
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

const plain = createServer((request, response) => take(request, (path) => respond(response, path)));
const caFile = fixture('localhost-cert.pem');
const key = await readFile(fixture('localhost-key.pem'));
const secure = createSecureServer({ key, cert: await readFile(caFile), allowHTTP1: true }, (request, response) =>
  take(request, (path) => respond(response, path)),
);
const http = `http://127.0.0.1:${await listen(plain)}`;
const tls = `https://127.0.0.1:${await listen(secure)}`;
process.stdout.write(`${JSON.stringify({ http, tls, caFile })}\n`);
