import { expect } from 'chai';
import { systemClock } from '../../src/domain/clock.ts';
import { HttpApi, type Answered } from '../../src/providers/http-api.ts';
import { startHttp, type HttpAnswer } from '../support/start-http.ts';

const SECRET = 'SG.abcdefghijklmnopqrstuvwxyz0123456789';
const never = (): AbortSignal => new AbortController().signal;

const open = (baseUrl: string): HttpApi =>
  new HttpApi({ baseUrl, timeout: 2_000, maxConcurrent: 5, secrets: [SECRET], clock: systemClock });

describe('what is told of an HTTP service', () => {
  it('has nothing of a credential that stands where an unreadable answer is cut', async () => {
    const body = `${'x'.repeat(185)}${SECRET}`;
    await using api = open('http://127.0.0.1:9');
    const answer: Answered = {
      kind: 'answered',
      status: 200,
      headers: {},
      body,
      json: undefined,
      wait: {},
    };
    const { outcome, detail } = api.unreadable(answer);
    expect(outcome).to.equal('unknown');
    expect(detail).to.be.a('string').that.is.not.empty;
    expect(detail).not.to.contain(SECRET.slice(0, 8));
  });

  it('blames the settings, not the message, where a credential cannot stand in a header', async () => {
    await using server = await startHttp();
    await using api = open(server.url);
    const headers = { authorization: 'Bearer with-a-line-break\n' };
    const answer = await api.call({ method: 'POST', path: '/send', headers, body: '{}' }, never());
    expect(answer).to.have.nested.property('result.outcome', 'provider_error');
    expect(server.requests).to.have.length(0);
  });
});

describe('a check of credentials', () => {
  async function check(answer: HttpAnswer): Promise<boolean> {
    await using server = await startHttp(() => answer);
    await using api = open(server.url);
    return (await api.check({ method: 'GET', path: '/me' }, never())).ok;
  }

  it('is good when the service answers', async () => {
    expect(await check({ status: 200, body: '{"name":"shop"}' })).to.equal(true);
  });

  it('is not good when something else than the service answers', async () => {
    expect(await check({ status: 200, body: '<html>Welcome</html>' })).to.equal(false);
  });
});
