// Two instances on one Redis behind a real HAProxy that gives each connection to the next one.

import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { removeFolder, start, stop, temporaryFolder } from './children.mjs';
import { Daemon } from './daemon.mjs';
import { Ticker } from './numbers.mjs';
import { freePort } from './ports.mjs';
import { Redis } from './redis.mjs';
import { until } from './wait.mjs';

const PROGRAM = '/usr/sbin/haproxy';

// A window that is known soon, and histories for clients that are far behind.
const SETTINGS = {
  'resume.window': '1s',
  'resume.clock_skew': '100ms',
  'redis.ping_interval': '300ms',
  'redis.ping_timeout': '500ms',
  'history.events': 1000000,
  'history.bytes': '100MiB',
};

const configuration = (folder, port, daemons) => `
global
    stats socket ${folder}/control mode 600 level admin
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 5
    option redispatch 1
    retry-on conn-failure empty-response
frontend public
    bind 127.0.0.1:${port}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk
    http-check send meth GET uri /healthz
    default-server check inter 100ms fall 2 rise 1
${daemons.map((daemon, n) => `    server i${n} 127.0.0.1:${daemon.port}`).join('\n')}
`;

/** How a stream begins that a client with this id would get, straight from an instance. */
function beginning(port, target, id) {
  return new Promise((resolve) => {
    const headers = { Accept: 'text/event-stream', 'Last-Event-ID': id };
    const request = http.get({ host: '127.0.0.1', port, path: target, headers, agent: false }, (response) => {
      response.once('data', (chunk) => {
        request.destroy();
        resolve(chunk.toString());
      });
    });
    request.on('error', () => resolve(''));
  });
}

export class Balanced {
  #folder = temporaryFolder('haproxy');
  #child;
  #tickers = [];
  #streams = [];
  daemons = [];

  static async create(client) {
    const world = new Balanced();
    try {
      await world.#create(client);
    } catch (error) {
      await world.close();
      throw error;
    }
    return world;
  }

  async #create(client) {
    this.client = client;
    this.redis = await Redis.launch();
    const cors = client.web ? { 'cors.origins': JSON.stringify([client.web.origin]) } : {};
    for (let n = 0; n < 2; n++) this.daemons.push(await Daemon.launch(this.redis, { ...SETTINGS, ...cors }));
    this.port = await freePort();
    const file = `${this.#folder}/haproxy.cfg`;
    writeFileSync(file, configuration(this.#folder, this.port, this.daemons));
    this.#child = start(PROGRAM, ['-db', '-f', file], { stdio: 'ignore' });
    await until(() => this.#control('show info').then((text) => text !== ''), 'HAProxy to answer');
  }

  /** Opens a stream through the balancer and resolves when tickerd:open has arrived. */
  async open(target) {
    const stream = this.client.open(`http://127.0.0.1:${this.port}${target}`, { credentials: false });
    this.#streams.push(stream);
    await stream.until(() => stream.opens.length === 1, 'tickerd:open');
    return stream;
  }

  tick(...channels) {
    const ticker = new Ticker(this.redis, channels.map((channel) => `sse:${channel}`));
    this.#tickers.push(ticker);
    return ticker;
  }

  /** Waits until each instance knows what the client's newest id stands for. */
  async windowKnown(stream, target) {
    const continued = async ({ port }) =>
      (await beginning(port, target, stream.events.at(-1).id)).includes('{"resume":"continued"}');
    for (const daemon of this.daemons) await until(() => continued(daemon), 'the window to be known');
  }

  /** Cuts all that goes through the balancer. */
  async cut() {
    for (const n of this.daemons.keys()) await this.#control(`shutdown sessions server instances/i${n}`);
  }

  #control(command) {
    return new Promise((resolve) => {
      let text = '';
      const socket = net.connect(`${this.#folder}/control`, () => socket.write(`${command}\n`));
      socket.on('data', (chunk) => (text += chunk));
      socket.on('error', () => resolve(''));
      socket.on('close', () => resolve(text));
    });
  }

  async close() {
    for (const ticker of this.#tickers) await ticker.stop();
    for (const stream of this.#streams) stream.close();
    if (this.#child) await stop(this.#child);
    for (const daemon of this.daemons) await daemon.close();
    await this.redis?.close();
    removeFolder(this.#folder);
  }
}
