// The test's own web server: serves the page, gives it commands and takes its reports.

import http from 'node:http';
import { readFile } from 'node:fs/promises';
import { listen } from './ports.mjs';
import { Stream } from './stream.mjs';
import { until } from './wait.mjs';

const here = (file) => new URL(`../${file}`, import.meta.url);
const LIBRARY = 'node_modules/@microsoft/fetch-event-source/lib/esm';
const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
// All but the page itself is under /test/, which the proxy passes to us.
const FILES = new Map([
  ['/', [here('page/index.html'), HTML]],
  ['/test/page.mjs', [here('page/page.mjs'), SCRIPT]],
  ['/test/frame.html', [here('page/frame.html'), HTML]],
  ['/test/frame.mjs', [here('page/frame.mjs'), SCRIPT]],
  ['/test/recorder.mjs', [here('lib/recorder.mjs'), SCRIPT]],
  // The library imports its parts without a file name extension.
  ...['index', 'fetch', 'parse'].map((name) => [
    `/test/fetch-event-source/${name}`,
    [here(`${LIBRARY}/${name}.js`), SCRIPT],
  ]),
]);
const LONG_POLL = 3000;

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export class Web {
  #commands = [];
  #streams = new Map();
  #batch = 0;
  #cookie = null;
  #polled = 0; // commands that the page has done, and one
  #closing = false;
  #server = http.createServer((request, response) => this.#serve(request, response));

  static async launch() {
    const web = new Web();
    web.port = await listen(web.#server);
    web.origin = `http://127.0.0.1:${web.port}`;
    return web;
  }

  /** Resolves once the page runs and asks for commands. */
  pageReady() {
    return until(() => this.#polled > 0, 'the browser to run the page', 45000);
  }

  /** Lets the page open a stream, by one of the ways that it knows (see openers in page.mjs). */
  open(how, url, options) {
    const id = this.#streams.size;
    const stream = new Stream(() => this.#commands.push({ op: 'close', stream: id }));
    this.#streams.set(id, stream);
    this.#commands.push({ op: 'open', stream: id, how, url, options });
    return stream;
  }

  /** Gives the page's browser a cookie, and resolves when it has it. */
  async setCookie(cookie) {
    this.#cookie = cookie;
    const taken = this.#commands.push({ op: 'nothing' });
    await until(() => this.#polled > taken, 'the browser to take a cookie');
  }

  async close() {
    this.#closing = true;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request, response) {
    const url = new URL(request.url, 'http://test');
    if (url.pathname === '/test/commands') await this.#giveCommands(Number(url.searchParams.get('after')), response);
    else if (url.pathname === '/test/reports') await this.#takeReports(request, response);
    else await this.#giveFile(FILES.get(url.pathname), response);
  }

  async #giveCommands(after, response) {
    this.#polled = after + 1;
    const news = () => this.#closing || this.#commands.length > after;
    await until(news, 'a command', LONG_POLL).catch(() => {});
    if (this.#cookie) response.setHeader('Set-Cookie', this.#cookie);
    response.end(JSON.stringify(this.#commands.slice(after)));
  }

  async #takeReports(request, response) {
    const { batch, records } = JSON.parse(await bodyOf(request));
    if (batch > this.#batch) {
      this.#batch = batch;
      for (const { stream, record } of records) this.#streams.get(stream).report(record);
    }
    response.end();
  }

  async #giveFile(entry, response) {
    if (!entry) {
      response.writeHead(404).end();
      return;
    }
    const [file, type] = entry;
    const headers = { 'Content-Type': type, 'Cache-Control': 'no-store', Connection: 'close' };
    response.writeHead(200, headers).end(await readFile(file));
  }
}
