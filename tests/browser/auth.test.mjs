// Tokens as browsers bring them: in cookies, to streams of another origin, and by fetch in a header.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { chromiumClient, fetchEventSourceClient } from './lib/clients.mjs';
import { problems, saw } from './lib/numbers.mjs';
import { Issuer } from './lib/tokens.mjs';
import { until } from './lib/wait.mjs';
import { inWorld } from './lib/world.mjs';

const NOBODY = { 'cors.origins': '["http://other.example"]' };
const WITH_COOKIE = { credentials: true, crossOrigin: true };

const issuer = new Issuer();
const cookie = (token) => `session=${token}; Path=/; HttpOnly; SameSite=Lax`;
const gaveUp = (stream) => until(() => stream.errors.some(({ closed }) => closed), 'the client to give up');

function statusOf({ response }) {
  return Number(/^HTTP\/1\.1 (\d+)/.exec(response)?.[1]);
}

async function freshCookieInTime(world) {
  const first = issuer.token(['news'], 3);
  const second = issuer.token(['news'], 300);
  await world.client.web.setCookie(cookie(first));
  const stream = await world.open('/events/news', WITH_COOKIE);
  const ticker = world.tick('news');
  await ticker.more(10);
  await world.client.web.setCookie(cookie(second));
  await stream.until(() => stream.opens.length === 2, 'the reconnect when the token has expired');
  await ticker.more(10);
  const last = await ticker.stop();
  await stream.until(() => saw(stream, last), `number ${last}`);
  assert.deepEqual(problems(stream.events, last), []);
  assert.deepEqual(stream.gaps, []);
  const brought = world.proxy.streams.map(({ headers }) => headers.cookie);
  assert.deepEqual(brought, [`session=${first}`, `session=${second}`]);
}

// What README advises: a new EventSource, told where the old one was.
async function cookieTooLate(world) {
  await world.client.web.setCookie(cookie(issuer.token(['news'], 2)));
  const stream = await world.open('/events/news', WITH_COOKIE);
  await world.publish('news', 'one');
  await stream.until(() => stream.messages.length === 1, 'a message');
  await gaveUp(stream);
  assert.equal(statusOf(world.proxy.streams.at(-1)), 401);
  await world.publish('news', 'two');
  await world.client.web.setCookie(cookie(issuer.token(['news'], 300)));
  const next = await world.open(`/events/news?last_event_id=${stream.messages[0].id}`, WITH_COOKIE);
  await next.until(() => next.messages.length === 1, 'what was missed');
  assert.equal(next.messages[0].data, 'two');
  assert.equal(next.opens[0].resume, 'continued');
}

// The cookie is sent, for ports do not make another site; the stream is not opened.
async function foreignPage(world) {
  await world.client.web.setCookie(cookie(issuer.token(['news'], 300)));
  for (const how of ['EventSource', 'image']) {
    const stream = world.startBy(how, '/events/news', { credentials: true });
    await gaveUp(stream);
    assert.deepEqual(stream.events, []);
    const request = world.proxy.streams.at(-1);
    assert.match(request.headers.cookie, /^session=ey/);
    assert.equal(request.headers.origin, how === 'image' ? undefined : world.client.web.origin);
    assert.equal(request.headers['sec-fetch-site'], 'same-site');
    assert.equal(statusOf(request), 403);
    assert.match(request.response, /"error":"foreign_origin"/);
  }
}

async function ownPage(world) {
  await world.client.web.setCookie(cookie(issuer.token(['news'], 300)));
  const stream = world.startBy('EventSource in a frame', '/events/news', { credentials: false });
  await stream.until(() => stream.opens.length === 1, 'tickerd:open');
  const { headers } = world.proxy.streams.at(-1);
  assert.equal(headers['sec-fetch-site'], 'same-origin');
  assert.match(headers.cookie, /^session=ey/);
}

async function header(world) {
  const headers = { Authorization: `Bearer ${issuer.token(['news'], 300)}` };
  const stream = await world.open('/events/news', { headers });
  await world.publish('news', 'one');
  await stream.until(() => stream.messages.length === 1, 'a message');
  world.proxy.cut();
  await stream.until(() => stream.opens.length === 2, 'the reconnect');
  assert.deepEqual(stream.opens[1], { id: stream.messages[0].id, resume: 'continued' });
  assert.equal(world.proxy.streams.at(-1).headers['last-event-id'], stream.messages[0].id);
  const preflights = world.proxy.requests.filter(({ method }) => method === 'OPTIONS');
  // The answer to the first names Last-Event-ID too, and the browser remembers it.
  assert.equal(preflights.length, 1);
  assert.equal(preflights[0].headers['access-control-request-headers'], 'authorization');
  assert.equal(statusOf(preflights[0]), 204);
}

async function headerOfForeignPage(world) {
  const headers = { Authorization: `Bearer ${issuer.token(['news'], 300)}` };
  const stream = world.start('/events/news', { headers });
  await until(() => stream.errors.length > 0, 'an error');
  assert.deepEqual(stream.events, []);
  assert.deepEqual(world.proxy.streams, [], 'the preflight was refused');
}

async function refusedHeader(world) {
  const stream = world.start('/events/other', { headers: { Authorization: `Bearer ${issuer.token(['news'], 300)}` } });
  await until(() => stream.errors.length > 0, 'an error');
  assert.equal(statusOf(world.proxy.streams[0]), 403);
  assert.match(world.proxy.streams[0].response, /\r\naccess-control-expose-headers: [^\r]*www-authenticate/i);
}

const SCENES = [
  ['Chromium, a cookie', chromiumClient, [
    ['comes back with a fresh one when the token expires', {}, freshCookieInTime],
    ['that is renewed too late needs a new EventSource', {}, cookieTooLate],
    ['does not help a page of a foreign origin', NOBODY, foreignPage],
    ["is welcome from the server's own pages", NOBODY, ownPage],
  ]],
  ['fetch-event-source, a token in a header', fetchEventSourceClient, [
    ['opens a stream after a preflight, and again', {}, header],
    ['is not even sent by a page of a foreign origin', NOBODY, headerOfForeignPage],
    ['that does not open the channel gets an answer that can be read', {}, refusedHeader],
  ]],
];

for (const [title, launch, scenes] of SCENES) {
  describe(title, () => {
    let client;
    before(async () => (client = await launch()), { timeout: 60000 });
    after(() => client?.close());
    for (const [name, settings, scene] of scenes) {
      it(name, { timeout: 60000 }, () => inWorld(client, { ...issuer.settings, ...settings }, scene));
    }
  });
}
after(() => issuer.close());
