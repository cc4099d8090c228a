// The clients' own reconnecting, through a real HAProxy, from one instance to the other and back.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Balanced } from './lib/balancer.mjs';
import { chromiumClient, npmEventSourceClient } from './lib/clients.mjs';
import { problems, saw } from './lib/numbers.mjs';

const CUTS = Number(process.env.CUTS ?? 12);
const CHANNELS = ['a', 'b', 'user.7'];
const TARGET = '/events?channel=a&channel=b&pattern=user.*';

async function exactlyOnce(stream, last) {
  await stream.until(() => saw(stream, last), `number ${last}`);
  assert.deepEqual(problems(stream.events, last), []);
  assert.deepEqual(stream.gaps, []);
  assert.ok(stream.opens.slice(1).every(({ resume }) => resume === 'continued'), stream.tail());
}

async function cutAgainAndAgain(world) {
  const stream = await world.open(TARGET);
  const ticker = world.tick(...CHANNELS);
  await ticker.more(10);
  await stream.until(() => stream.messages.length > 5, 'messages');
  await world.windowKnown(stream, TARGET);
  for (let n = 1; n <= CUTS; n++) {
    await ticker.more(5);
    await world.cut();
    await stream.until(() => stream.opens.length === n + 1, `reconnect ${n}`);
  }
  await ticker.more(10);
  await exactlyOnce(stream, await ticker.stop());
}

async function oneIsDrained(world) {
  const streams = [await world.open(TARGET), await world.open(TARGET)]; // one at each
  const ticker = world.tick(...CHANNELS);
  await ticker.more(10);
  for (const stream of streams) {
    await stream.until(() => stream.messages.length > 5, 'messages');
    await world.windowKnown(stream, TARGET);
  }
  const ended = await world.daemons[0].stop('SIGTERM');
  assert.deepEqual(ended, { code: 0, signal: null });
  const moved = () => streams.some((stream) => stream.opens.length > 1);
  await streams[0].until(moved, 'the one at this instance to move');
  await ticker.more(50);
  const last = await ticker.stop();
  for (const stream of streams) await exactlyOnce(stream, last);
}

for (const [title, launch] of [['Chromium', chromiumClient], ['npm eventsource', npmEventSourceClient]]) {
  describe(`${title}, two instances behind HAProxy`, () => {
    let client;
    before(async () => (client = await launch()), { timeout: 60000 });
    after(() => client?.close());
    const scene = (scenario) => async () => {
      const world = await Balanced.create(client);
      try {
        await scenario(world);
      } finally {
        await world.close();
      }
    };
    it('gets everything once, however often it is cut', { timeout: 60000 }, scene(cutAgainAndAgain));
    it('moves to the other instance when one is drained', { timeout: 60000 }, scene(oneIsDrained));
  });
}
