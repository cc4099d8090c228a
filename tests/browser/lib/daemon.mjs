// The tickerd under test.

import { spawnSync } from 'node:child_process';
import http from 'node:http';
import { start, stop } from './children.mjs';
import { until } from './wait.mjs';

const PROGRAM = process.env.TICKERD ?? new URL('../../../build/tickerd', import.meta.url).pathname;

// Quick reconnects, so that the tests are quick too.
const SETTINGS = {
  'drain.timeout': '200ms',
  'stream.retry': '200ms',
  'stream.retry_jitter': '0ms',
  'redis.backoff_max': '500ms',
  workers: 2,
};

// More of them from the environment: TICKERD_SET="workers=4 log.level=debug".
const EXTRA = Object.fromEntries(
  (process.env.TICKERD_SET ?? '').split(/\s+/).filter(Boolean).map((pair) => pair.split(/=(.*)/s, 2)),
);

let withoutAdmin;

// Several daemons run at a time, so none may take the fixed default port of the admin listener.
function adminSettings() {
  if (withoutAdmin === undefined) {
    const config = spawnSync(PROGRAM, ['--print-config'], { encoding: 'utf8' });
    withoutAdmin = /"admin"\s*:/.test(config.stdout) ? { admin: 'null' } : {};
  }
  return withoutAdmin;
}

function get(port, target) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: target, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on('error', () => resolve(0));
  });
}

export class Daemon {
  log = '';
  port = 0;
  admin = null; // the admin listener's address, where the settings have one
  #redis;
  #settings;
  #config;
  #child;

  /** `config` names a configuration file, which the settings overrule. */
  static async launch(redis, settings = {}, { config = null } = {}) {
    const daemon = new Daemon();
    daemon.#redis = redis;
    daemon.#config = config ? ['--config', config] : [];
    daemon.#settings = { ...SETTINGS, ...adminSettings(), ...settings, ...EXTRA };
    await daemon.start();
    return daemon;
  }

  /** Starts it, after a stop on the same port; returns when it is ready to serve. */
  async start() {
    const settings = Object.entries(this.#settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
    const addresses = ['--listen', `127.0.0.1:${this.port}`, '--redis', `redis://127.0.0.1:${this.#redis.port}`];
    const child = start(PROGRAM, [...this.#config, ...addresses, ...settings]);
    const from = this.log.length;
    child.stderr.setEncoding('utf8').on('data', (text) => (this.log += text));
    let ended = false;
    child.gone.then(() => (ended = true));
    this.#child = child;
    await until(async () => {
      if (ended) throw new Error(`tickerd ended at once:\n${this.log.slice(from)}`);
      const line = /(?<!admin )listening on 127\.0\.0\.1:(\d+)/.exec(this.log.slice(from));
      if (!line) return false;
      this.port = Number(line[1]);
      this.admin = /admin listening on (\S+)/.exec(this.log.slice(from))?.[1] ?? null;
      return (await get(this.port, '/readyz')) === 200;
    }, () => `tickerd to be ready:\n${this.log.slice(from)}`);
  }

  /** Ends it and says how it ended: {code, signal}. */
  stop(signal) {
    return stop(this.#child, signal);
  }

  async close() {
    await this.stop('SIGKILL');
  }
}
