// Chromium through a real nginx that asks an application, which knows the browser by its cookie.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chromiumClient } from './lib/clients.mjs';
import { Application, Nginx } from './lib/nginx.mjs';
import { problems, saw } from './lib/numbers.mjs';
import { until } from './lib/wait.mjs';
import { inWorld } from './lib/world.mjs';

const NAME = 'orders/42 & ünïcode';
const TARGET = `/events/${encodeURIComponent(NAME)}`;

async function reconnected(world, stream, count) {
  world.proxy.cut();
  await stream.until(() => stream.opens.length === count, `tickerd:open number ${count}`);
}

// Cut again and again; cut while the application is away; cut when the right is gone.
async function decidedAtEachReconnect(world, application) {
  const stream = await world.open(TARGET);
  const ticker = world.tick(NAME);
  for (let n = 2; n <= 5; n++) {
    await ticker.more(10);
    await reconnected(world, stream, n);
  }
  await application.up(false);
  const attempts = world.proxy.streams.length;
  world.proxy.cut();
  const toldToWait = ({ response }) => /^HTTP\/1.1 200 [^]*\r\n\r\nretry: 3\d{3}\n\n$/.test(response);
  await stream.until(() => world.proxy.streams.slice(attempts).some(toldToWait), 'the answer in its place');
  await ticker.more(10);
  await application.up(true);
  await stream.until(() => stream.opens.length === 6, 'the stream after that');
  const last = await ticker.stop();
  await stream.until(() => saw(stream, last), `number ${last}`);
  assert.deepEqual(problems(stream.events, last), []);
  assert.deepEqual(stream.gaps, []);
  assert.ok(stream.opens.slice(1).every(({ resume }) => resume === 'continued'), stream.tail());

  application.granted.clear();
  world.proxy.cut();
  await until(() => stream.errors.some(({ closed }) => closed), 'Chromium to give up');
  assert.match(world.proxy.streams.at(-1).response, /^HTTP\/1.1 403 /);
}

async function throughNginx(client, application, scenario) {
  await inWorld(client, {}, async (world) => {
    const nginx = await Nginx.launch(world.daemon.port, application.port);
    world.proxy.target = nginx.port;
    try {
      await scenario(world, application);
    } finally {
      await nginx.close();
    }
  });
}

describe('Chromium, through nginx that asks the application', () => {
  it('gets everything once for as long as it may', { timeout: 90000 }, async () => {
    const application = await Application.launch(NAME);
    const client = await chromiumClient({ cookie: { name: 'session', value: application.session } });
    try {
      await throughNginx(client, application, decidedAtEachReconnect);
    } finally {
      await client.close();
      await application.up(false);
    }
  });
});
