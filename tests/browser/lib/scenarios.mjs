// What every client must live through.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { problems, saw } from './numbers.mjs';
import { PAYLOADS } from './payloads.mjs';
import { between, seed } from './random.mjs';
import { until } from './wait.mjs';
import { inWorld } from './world.mjs';

const ID = /^[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}$/;
const CUTS = Number(process.env.CUTS ?? 7);
const HEARTBEAT = /\n:\n$/;

/** Everything up to `last` has been seen, once and in order; gaps are allowed where they are announced. */
async function allSeen(stream, last) {
  await stream.until(() => saw(stream, last), `number ${last}`);
  assert.deepEqual(problems(stream.events, last), [], `SEED=${seed}`);
}

/** The same, and not one gap. */
async function exactlyOnce(stream, last) {
  await allSeen(stream, last);
  assert.deepEqual(stream.gaps, []);
}

const abridged = (text) => (text.length > 200 ? `${text.slice(0, 99)}… (${text.length} in all)` : text);

async function everyPayload(world) {
  const stream = await world.open('/events/news');
  assert.deepEqual(stream.opens[0].resume, 'new');
  assert.match(stream.opens[0].id, ID);
  for (const { wire } of PAYLOADS) await world.publish('news', wire);
  await stream.until(() => stream.messages.length >= PAYLOADS.length, 'all messages');
  PAYLOADS.forEach((expected, i) => {
    const { via, type, data, id } = stream.messages[i];
    assert.equal(abridged(data), abridged(world.client.sees(expected.data)), `data of message ${i}`);
    assert.equal(type, expected.type, `type of message ${i}`);
    assert.equal(via, expected.type === 'message' ? 'onmessage' : 'listener');
    assert.match(id, expected.id ?? ID, `id of message ${i}`);
  });
  assert.equal(stream.events[0].type, 'tickerd:open', 'the first event');
  assert.equal(stream.events.length, PAYLOADS.length + 1, 'and no other broker event');
}

async function heartbeats(world) {
  const stream = await world.open('/events/news');
  await until(() => HEARTBEAT.test(world.proxy.streams[0].response), 'a heartbeat');
  await world.publish('news', 'after a heartbeat');
  await stream.until(() => stream.messages.length > 0, 'a message');
  assert.deepEqual(stream.events.map(({ type }) => type), ['tickerd:open', 'message']);
  assert.equal(stream.messages[0].data, 'after a heartbeat');
}

// The position in tickerd:open is enough to resume from.
async function droppedBeforeFirstMessage(world) {
  const stream = await world.open('/events/news');
  await world.proxy.refuse(true);
  world.proxy.cut();
  await stream.until(() => stream.errors.length >= 2, 'the client to try again');
  for (const text of ['one', 'two', 'three']) await world.publish('news', text);
  await world.proxy.refuse(false);
  await stream.until(() => stream.messages.length >= 3, 'what was published meanwhile');
  await world.publish('news', 'four');
  await stream.until(() => stream.messages.length >= 4, 'what is published afterwards');
  assert.deepEqual(stream.messages.map(({ data }) => data), ['one', 'two', 'three', 'four']);
  const [first, second] = stream.opens;
  assert.deepEqual(second, { id: first.id, resume: 'continued' });
  assert.equal(world.proxy.streams.at(-1).headers['last-event-id'], first.id);
  assert.deepEqual(stream.gaps, []);
}

// From within the head and the first block to far into a replay, with a RST and a FIN in turn (a RST
// may also take from the client what it had received but not yet read).
function randomCuts() {
  const body = (high, i) => ({ inHead: false, bytes: between(1, high), reset: i % 2 === 0 });
  const inHead = { inHead: true, bytes: between(1, 100), reset: true };
  return [inHead, body(100, 0), body(100, 1), ...Array.from({ length: CUTS }, (_, i) => body(6000, i))];
}

async function cutAnywhere(world, target, channels) {
  const stream = await world.open(target);
  const ticker = world.tick(...channels);
  await ticker.more(10);
  world.proxy.cutAfter(randomCuts());
  world.proxy.cut();
  await stream.until(() => world.proxy.cutsLeft === 0, 'all cuts to happen', 30000 + CUTS * 2000);
  await ticker.more(10);
  await exactlyOnce(stream, await ticker.stop());
  assert.ok(stream.opens.length > 2, `it has resumed from the middle of a replay; SEED=${seed}`);
}

const cutOneChannel = (world) => cutAnywhere(world, '/events/ticks', ['ticks']);

const cutMerged = (world) =>
  cutAnywhere(world, '/events?channel=ticks.a&channel=ticks.b&pattern=user.*', [
    'ticks.a',
    'user.7',
    'ticks.b',
    'user.8',
  ]);

async function refusedForAWhile(world) {
  const { proxy } = world;
  const stream = await world.open('/events/ticks');
  const ticker = world.tick('ticks');
  await ticker.more(10);
  await proxy.refuse(true);
  proxy.cut({ reset: false });
  await stream.until(() => stream.errors.length >= 3, 'two vain attempts');
  proxy.resetAll(true);
  await proxy.refuse(false);
  await stream.until(() => proxy.resets >= 2, 'two more');
  await ticker.more(10);
  proxy.resetAll(false);
  await stream.until(() => stream.opens.length === 2, 'the reconnect');
  await ticker.more(10);
  await exactlyOnce(stream, await ticker.stop());
}

// A network that holds everything back: first it lets go again, then the connection is lost instead.
async function stalled(world) {
  const stream = await world.open('/events/ticks');
  const ticker = world.tick('ticks');
  for (const lost of [false, true]) {
    world.proxy.stall(true);
    await ticker.more(50);
    if (lost) world.proxy.cut();
    world.proxy.stall(false);
    await ticker.more(10);
  }
  await exactlyOnce(stream, await ticker.stop());
  assert.equal(stream.opens.length, 2, 'a stall alone is no reason to reconnect');
}

async function publishersId(world) {
  const stream = await world.open('/events/orders');
  await world.publish('orders', '{"id":"order-1","data":"first"}');
  await stream.until(() => stream.messages.length === 1, 'the first message');
  await world.proxy.refuse(true);
  world.proxy.cut();
  await world.publish('orders', '{"id":"order-2","data":"second"}');
  await world.publish('orders', 'third');
  await world.proxy.refuse(false);
  await stream.until(() => stream.messages.length >= 3, 'the messages missed');
  assert.deepEqual(stream.messages.map(({ data }) => data), ['first', 'second', 'third']);
  assert.equal(world.proxy.streams.at(-1).headers['last-event-id'], 'order-1');
  assert.deepEqual(stream.gaps, []);
}

/** Restarts the daemon while messages keep coming, and waits until the client is back. */
async function restart(world, stream, ticker, signal) {
  const { daemon } = world;
  await ticker.more(20);
  await stream.until(() => stream.messages.length > 0, 'messages before the restart');
  const ended = await daemon.stop(signal);
  if (signal === 'SIGTERM') assert.deepEqual(ended, { code: 0, signal: null }, 'how it ended');
  await ticker.more(20); // lost, as nobody listens
  await daemon.start();
  const published = ticker.last;
  await stream.until(() => stream.messages.some(({ data }) => parseInt(data, 10) > published), 'messages again', 20000);
  await ticker.more(10);
}

function oneRestartGap(stream) {
  assert.deepEqual(stream.gaps.map(({ reason }) => reason), ['restart']);
  assert.equal(stream.gaps[0].to, stream.gaps[0].id, 'a gap ends at the position it gives');
  assert.match(stream.gaps[0].to, ID);
}

const restartedBy = (signal) =>
  async function restarted(world) {
    const stream = await world.open('/events/ticks', { direct: true });
    const ticker = world.tick('ticks');
    await restart(world, stream, ticker, signal);
    await allSeen(stream, await ticker.stop());
    oneRestartGap(stream);
    assert.equal(stream.opens.at(-1).resume, 'gap');
  };

// Once told of the loss, the client has a position of the new run and resumes from that without one.
async function cutAfterRestart(world) {
  const stream = await world.open('/events/ticks');
  const ticker = world.tick('ticks');
  await restart(world, stream, ticker, 'SIGKILL');
  const opens = stream.opens.length;
  world.proxy.cut();
  await stream.until(() => stream.opens.length > opens, 'the reconnect');
  await ticker.more(10);
  await allSeen(stream, await ticker.stop());
  oneRestartGap(stream);
  assert.equal(stream.opens.at(-1).resume, 'continued');
}

async function redisRestarted(world) {
  const stream = await world.open('/events/ticks');
  const ticker = world.tick('ticks');
  await ticker.more(20);
  await world.redis.kill();
  await world.redis.start();
  await stream.until(() => stream.gaps.length > 0, 'a gap');
  const published = ticker.last;
  await stream.until(() => stream.messages.some(({ data }) => parseInt(data, 10) > published), 'messages again');
  await ticker.more(10);
  await allSeen(stream, await ticker.stop());
  assert.deepEqual(stream.gaps.map(({ channel, reason }) => ({ channel, reason })), [{ channel: null, reason: 'upstream' }]);
  assert.equal(stream.opens.length, 1, 'it did not reconnect');
  assert.deepEqual(stream.errors, []);
  assert.equal(world.proxy.streams.length, 1);
}

// A client that comes back while Redis is away gets its stream, and is told once Redis is back.
async function reconnectedWithoutRedis(world) {
  const stream = await world.open('/events/ticks');
  const ticker = world.tick('ticks');
  await ticker.more(20);
  await world.redis.kill();
  world.proxy.cut();
  await stream.until(() => stream.opens.length === 2, 'the reconnect');
  await world.redis.start();
  await stream.until(() => stream.gaps.length > 0, 'a gap');
  await ticker.more(20);
  await allSeen(stream, await ticker.stop());
  assert.deepEqual(stream.gaps.map(({ reason }) => reason), ['upstream']);
}

async function historyFirst(world) {
  const listener = await world.open('/events/news'); // without one, mode on-demand would keep nothing
  for (const text of ['one', 'two', 'three']) await world.publish('news', text);
  await listener.until(() => listener.messages.length === 3, 'the messages');
  const stream = await world.open('/events/news?history=2');
  await stream.until(() => stream.messages.length === 2, 'the history');
  world.proxy.cut();
  await stream.until(() => stream.opens.length === 2, 'the reconnect');
  await world.publish('news', 'four');
  await stream.until(() => stream.messages.length >= 3, 'a live message');
  assert.deepEqual(stream.messages.map(({ data }) => data), ['two', 'three', 'four']);
  assert.deepEqual(stream.gaps, []);
}

async function wrappedInJson(world) {
  const stream = await world.open('/events?pattern=news.*&format=json');
  await world.publish('news.a', 'two\nlines');
  await world.publish('news.b', '{"data":"goal","event":"score"}');
  await stream.until(() => stream.messages.length === 2, 'both messages');
  const [first, second] = stream.messages.map(({ via, id, data }) => ({ via, id, ...JSON.parse(data) }));
  const ids = stream.messages.map(({ id }) => id);
  assert.deepEqual(first, { via: 'onmessage', channel: 'news.a', id: ids[0], event: first.event, data: 'two\nlines' });
  assert.deepEqual(second, { via: 'onmessage', channel: 'news.b', id: ids[1], event: 'score', data: 'goal' });
  assert.deepEqual(Object.keys(stream.opens[0]), ['id', 'resume'], 'broker events stay as they are');
}

async function crossOrigin(world) {
  for (const credentials of [false, true]) {
    const stream = await world.open('/events/news', { credentials, crossOrigin: true });
    await world.publish('news', 'hello');
    await stream.until(() => stream.messages.length === 1, 'a message');
    world.proxy.cut();
    await stream.until(() => stream.opens.length === 2, 'the reconnect');
    await world.publish('news', 'again');
    await stream.until(() => stream.messages.length === 2, 'another message');
    const { headers, response } = world.proxy.streams.at(-1);
    assert.equal(headers.origin, world.client.web.origin);
    assert.match(response, new RegExp(`\r\naccess-control-allow-origin: ${world.client.web.origin}\r\n`, 'i'));
    assert.match(response, /\r\nvary:[^\r\n]*origin/i);
    stream.close();
  }
}

async function foreignOrigin(world) {
  const attempts = [];
  for (const credentials of [false, true]) {
    const stream = world.start('/events/news', { credentials, crossOrigin: true });
    await until(() => stream.errors.length > 0, 'an error');
    await world.publish('news', 'not for them');
    attempts.push(stream);
  }
  for (const stream of attempts) assert.deepEqual(stream.records.filter(({ kind }) => kind !== 'error'), []);
}

// Many cuts put a client far behind.
const LONG_HISTORY = { 'history.events': 1000000, 'history.bytes': '100MiB' };

const EVERYWHERE = [
  ['receives every kind of message as published', {}, everyPayload],
  ['does not notice heartbeats', { 'stream.heartbeat': '1s' }, heartbeats],
  ['resumes when dropped before the first message', {}, droppedBeforeFirstMessage],
  ['resumes exactly once wherever the connection is cut', LONG_HISTORY, cutOneChannel],
  ['resumes merged channels and patterns exactly once', LONG_HISTORY, cutMerged],
  ['comes back after being refused for a while', {}, refusedForAWhile],
  ['loses nothing to a stalled network', {}, stalled],
  ["resumes after a publisher's own id", {}, publishersId],
  ['survives a restart by SIGTERM, and is told of the loss', {}, restartedBy('SIGTERM')],
  ['survives a restart by SIGKILL, and is told of the loss', {}, restartedBy('SIGKILL')],
  ['resumes without a gap after the one of a restart', {}, cutAfterRestart],
  ['stays connected and is told when Redis was restarted', {}, redisRestarted],
  ['may reconnect while Redis is away', { 'redis.ping_timeout': '500ms' }, reconnectedWithoutRedis],
  ['replays history once, not again on a reconnect', {}, historyFirst],
  ['takes events wrapped in JSON', {}, wrappedInJson],
];
const IN_BROWSERS = [
  ['may listen from an allowed origin, with and without credentials', {}, crossOrigin],
  ['hears nothing from an origin that is not allowed', { 'cors.origins': '["http://other.example"]' }, foreignOrigin],
];

/** Defines the tests of one client. */
export function scenarios(title, launch, { browser }) {
  describe(title, () => {
    let client;
    before(async () => (client = await launch()), { timeout: 60000 });
    after(() => client?.close());
    for (const [name, settings, scenario] of browser ? [...EVERYWHERE, ...IN_BROWSERS] : EVERYWHERE) {
      it(name, { timeout: 60000 + CUTS * 2000 }, () => inWorld(client, settings, scenario));
    }
  });
}
