// What a scenario plays in: a private Redis, a tickerd, a proxy before it, and one client.

import assert from 'node:assert/strict';
import { Daemon } from './daemon.mjs';
import { Ticker } from './numbers.mjs';
import { Proxy } from './proxy.mjs';
import { Redis } from './redis.mjs';

export class World {
  #streams = [];
  #tickers = [];

  static async create(client, settings = {}) {
    const world = new World();
    try {
      world.client = client;
      world.redis = await Redis.launch();
      world.daemon = await Daemon.launch(world.redis, { ...world.#cors(), ...settings });
      world.proxy = await Proxy.launch(world.daemon.port, client.web?.port);
      world.proxy.gentle = client.takesIdEarly;
    } catch (error) {
      await world.close();
      throw error;
    }
    return world;
  }

  #cors() {
    return this.client.web ? { 'cors.origins': JSON.stringify([this.client.web.origin]) } : {};
  }

  /** Opens a stream and resolves when tickerd:open has arrived. */
  async open(target, options) {
    const stream = this.start(target, options);
    await stream.until(() => stream.opens.length === 1, 'tickerd:open');
    return stream;
  }

  /** Opens a stream through the proxy, or directly where the client's page can be of another origin. */
  start(target, { direct = false, credentials = false, crossOrigin = false, headers } = {}) {
    const port = direct && !this.client.sameOrigin ? this.daemon.port : this.proxy.port;
    const options = { credentials, crossOrigin, headers };
    return this.#keep(this.client.open(`http://127.0.0.1:${port}${target}`, options));
  }

  /** Lets the client's page open a stream through the proxy in this way (see openers in page.mjs). */
  startBy(how, target, options) {
    const url = `http://127.0.0.1:${this.proxy.port}${target}`;
    return this.#keep(this.client.web.open(how, url, { names: ['tickerd:open', 'tickerd:gap'], ...options }));
  }

  #keep(stream) {
    this.#streams.push(stream);
    return stream;
  }

  /** Publishes under the default prefix. */
  publish(channel, payload) {
    return this.redis.publish(`sse:${channel}`, payload);
  }

  /** Starts to publish numbers on these channels, until the end at the latest. */
  tick(...channels) {
    const ticker = new Ticker(this.redis, channels.map((channel) => `sse:${channel}`));
    this.#tickers.push(ticker);
    return ticker;
  }

  /** Ends the daemon as its owner would, and insists that it ends well. */
  async finish() {
    await this.#quiet();
    assert.deepEqual(await this.daemon.stop('SIGTERM'), { code: 0, signal: null }, 'how tickerd ended');
    assert.doesNotMatch(this.daemon.log, /Sanitizer|runtime error:/);
  }

  async #quiet() {
    for (const ticker of this.#tickers) await ticker.stop();
    for (const stream of this.#streams) stream.close();
  }

  async close() {
    await this.#quiet();
    await this.proxy?.close();
    await this.daemon?.close();
    await this.redis?.close();
  }
}

/** Runs a scenario in a world of its own; when it fails, its story is told with the error. */
export async function inWorld(client, settings, scenario) {
  const world = await World.create(client, settings);
  try {
    await scenario(world);
    await world.finish();
  } catch (error) {
    console.error(`--- ${client.name}: tickerd's log\n${world.daemon.log.slice(-4000)}`);
    throw error;
  } finally {
    await world.close();
  }
}
