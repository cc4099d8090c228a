// The dashboard of a real tickerd in Chromium, and an ear for all that must never happen there.

import http from 'node:http';
import { chromium } from 'playwright-core';
import { CHROMIUM } from './clients.mjs';
import { Daemon } from './daemon.mjs';
import { freePort } from './ports.mjs';
import { Redis } from './redis.mjs';
import { until } from './wait.mjs';

/** A stream of the public listener, for the dashboard to show; `ids` are those of its messages. */
class Listener {
  text = '';
  closed = false;
  #request;

  constructor(port, target, headers = {}) {
    this.#request = http.get({ host: '127.0.0.1', port, path: target, headers, agent: false }, (response) => {
      response.setEncoding('utf8').on('data', (chunk) => (this.text += chunk));
      response.on('error', () => {}).on('close', () => (this.closed = true));
    });
    this.#request.on('error', () => (this.closed = true));
  }

  /** The id of the event with this one line of data, once it has come. */
  idOf(data) {
    const id = () =>
      this.text
        .split('\n\n')
        .find((block) => block.split('\n').includes(`data: ${data}`))
        ?.match(/^id: (.*)$/m);
    return until(id, () => `"${data}" in ${this.text}`).then(([, found]) => found);
  }

  close() {
    this.#request.destroy();
  }
}

export class Dashboard {
  complaints = [];
  #listeners = [];

  /** A Redis, a tickerd with an admin listener, and a browser without a page yet. */
  static async create(settings = {}, options = {}) {
    const dashboard = new Dashboard();
    try {
      dashboard.redis = await Redis.launch();
      const admin = { admin: `127.0.0.1:${await freePort()}`, admin_publish: true };
      dashboard.daemon = await Daemon.launch(dashboard.redis, { ...admin, ...settings }, options);
      dashboard.browser = await chromium.launch(CHROMIUM);
      return dashboard;
    } catch (error) {
      await dashboard.close();
      throw error;
    }
  }

  get origin() {
    return `http://${this.daemon.admin}`;
  }

  /** Opens the page and waits for its first figures; `clock` gives the page a clock that can be moved on. */
  async open({ width = 1280, height = 900, colorScheme = 'light', clock = false } = {}) {
    const context = await this.browser.newContext({
      viewport: { width, height },
      colorScheme,
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    this.page = page;
    page.on('pageerror', (error) => this.complaints.push(`error: ${error}`));
    page.on('console', (message) => this.#hear(message.text(), message.type()));
    page.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(`${this.origin}/`) && !url.startsWith('data:')) this.complaints.push(`request: ${url}`);
    });
    if (clock) await page.clock.install();
    await page.goto(this.origin);
    await this.shows('#state', /running/);
    return page;
  }

  /** What Chromium itself writes of requests that fail is what a restart looks like, nothing of ours. */
  #hear(text, type) {
    const refused = /^Failed to load resource: (net::ERR_|the server responded with a status of)/.test(text);
    if (!refused) this.complaints.push(`console ${type}: ${text}`);
  }

  text(selector) {
    return this.page.locator(selector).first().textContent();
  }

  /** Waits until an element's text fits. */
  async shows(selector, pattern, timeout) {
    let last = '';
    const fits = async () =>
      pattern.test(
        (last = await this.page
          .locator(selector)
          .first()
          .textContent({ timeout: 5000 })
          .catch(() => '')),
      );
    await until(fits, () => `${selector} to be like ${pattern}, not "${last}"`, timeout);
    return last;
  }

  listen(target, headers) {
    const listener = new Listener(this.daemon.port, target, headers);
    this.#listeners.push(listener);
    return listener;
  }

  /** Listens, and waits until the stream is open. */
  async listening(target, headers) {
    const listener = this.listen(target, headers);
    await until(
      () => listener.text.includes('tickerd:open'),
      () => `a stream, not ${listener.text}`,
    );
    return listener;
  }

  publish(channel, data) {
    return this.redis.publish(`sse:${channel}`, data);
  }

  /** Opens the live tail by its form. */
  async tail(name, kind = 'channel') {
    await this.page.selectOption('#tail-kind', kind);
    await this.page.fill('#tail-name', name);
    await this.page.click('#tail-form button[type=submit]');
    await this.shows('#tail-state', /: live/);
  }

  /** The lines of the tail: {id, name, channel, data, kind}. */
  lines() {
    return this.page.evaluate(() =>
      [...document.querySelectorAll('#tail-lines li')].map((item) => {
        const part = (selector) => item.querySelector(selector)?.textContent;
        return {
          id: part('.id'),
          name: part('.name'),
          channel: part('.channel'),
          data: part('pre'),
          kind: item.className,
          hidden: item.hidden,
        };
      }),
    );
  }

  /** Waits for a line in the tail. */
  async line(test, what) {
    let lines = [];
    const find = async () => (lines = await this.lines()).find(test);
    return until(find, () => `${what} in the tail:\n${JSON.stringify(lines, null, 1)}`);
  }

  async close() {
    for (const listener of this.#listeners) listener.close();
    await this.browser?.close();
    await this.daemon?.close();
    await this.redis?.close();
  }
}
