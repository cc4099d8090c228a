// A TCP proxy between client and tickerd that can cut at any byte, refuse and stall. What is asked of
// it under /test/ comes from the test's web server, so that pages can be of the streams' origin.

import net from 'node:net';
import { listen } from './ports.mjs';

const REQUEST = /^([A-Z]+) (\S+) HTTP\/1\.[01]\r\n/;
const HEAD_END = '\r\n\r\n';
const LF = 10;

function parseRequest(text) {
  const [line, ...fields] = text.split(HEAD_END, 1)[0].split('\r\n');
  const [method, target] = line.split(' ');
  const headers = {};
  for (const field of fields) {
    const colon = field.indexOf(':');
    headers[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim();
  }
  return { method, target, headers, response: '' };
}

const isStream = ({ method, target }) => method === 'GET' && target.startsWith('/events');

/** One client connection and its other half to tickerd. */
class Link {
  #request = null;
  #cut = null;
  #proxy;
  #client;
  #upstream = null;

  constructor(proxy, client) {
    this.#proxy = proxy;
    this.#client = client;
    client.setNoDelay(true);
    client.on('data', (chunk) => this.#toServer(chunk));
    client.on('end', () => (this.#upstream ?? client).end());
    this.#watch(client);
  }

  stall(on) {
    if (on) this.#upstream?.pause();
    else this.#upstream?.resume();
  }

  /** Ends both halves: towards the client with a RST, or with a FIN after what was sent. */
  cut({ reset }) {
    if (reset && !this.#proxy.gentle) this.#client.resetAndDestroy();
    else this.#client.destroySoon();
    this.#upstream?.destroy();
  }

  #watch(socket) {
    socket.on('error', () => this.cut({ reset: true }));
    socket.on('close', () => {
      if (this.#client.destroyed && (this.#upstream?.destroyed ?? true)) this.#proxy.links.delete(this);
    });
  }

  #connect(port) {
    const upstream = net.connect(port, '127.0.0.1');
    this.#upstream = upstream;
    upstream.setNoDelay(true);
    upstream.on('data', (chunk) => this.#toClient(chunk));
    upstream.on('end', () => this.#client.end());
    this.#watch(upstream);
    this.stall(this.#proxy.stalled);
  }

  #toServer(chunk) {
    const text = chunk.toString('latin1');
    if (REQUEST.test(text)) {
      this.#request = parseRequest(text);
      const forTest = this.#request.target.startsWith('/test/');
      if (!this.#upstream) this.#connect(forTest ? this.#proxy.webPort : this.#proxy.target);
      if (!forTest) this.#proxy.requests.push(this.#request);
      this.#cut = isStream(this.#request) ? this.#proxy.nextCut() : null;
    }
    if (this.#upstream?.writable) this.#upstream.write(chunk);
  }

  #toClient(chunk) {
    if (!this.#client.writable) return;
    const size = this.#allowed(chunk);
    const part = chunk.subarray(0, size);
    if (this.#request) this.#request.response += part.toString('latin1');
    this.#client.write(part);
    if (size < chunk.length) this.cut(this.#cut);
  }

  // How much of a chunk may pass before the cut that is due on this connection, if one is.
  #allowed(chunk) {
    if (!this.#cut) return chunk.length;
    const soFar = this.#request.response.length;
    const end = (this.#request.response + chunk.toString('latin1')).indexOf(HEAD_END) + HEAD_END.length;
    const limit = this.#cut.inHead ? this.#cut.bytes : this.#cut.bytes + end;
    if (!this.#cut.inHead && end < HEAD_END.length) return chunk.length;
    return this.#wholeBlock(chunk, Math.min(chunk.length, limit - soFar));
  }

  // Gentle cuts never fall between an id and the blank line behind it.
  #wholeBlock(chunk, size) {
    const between = this.#proxy.gentle && chunk[size - 1] === LF && chunk[size] === LF;
    return between ? size + 1 : size;
  }
}

export class Proxy {
  links = new Set();
  /** Every request seen: {method, target, headers, response}. */
  requests = [];
  stalled = false;
  /**
   * For clients that take over an id before they dispatch its event: what is sent shall be read, hence a
   * FIN instead of a RST (which may take away what was received but not read), and not end behind an id.
   */
  gentle = false;
  /** How many connections were reset by `resetAll`. */
  resets = 0;
  #cuts = [];
  #resetting = false;
  #server = null;

  static async launch(target, webPort) {
    const proxy = new Proxy();
    proxy.target = target;
    proxy.webPort = webPort;
    await proxy.refuse(false);
    return proxy;
  }

  /** The requests for a stream, preflights left out. */
  get streams() {
    return this.requests.filter(isStream);
  }

  /** The next streams are cut, one cut a stream: {bytes, inHead, reset}, counted from the start of head or body. */
  cutAfter(cuts) {
    this.#cuts.push(...cuts);
  }

  get cutsLeft() {
    return this.#cuts.length;
  }

  nextCut() {
    return this.#cuts.shift() ?? null;
  }

  /** Cuts whatever is open now. */
  cut({ reset = true } = {}) {
    for (const link of this.links) link.cut({ reset });
  }

  /** While refusing, nobody listens: connection refused. */
  async refuse(on) {
    if (on) {
      this.#server?.close();
      this.#server = null;
      return;
    }
    this.#server = net.createServer((client) => this.#accept(client));
    this.port = await listen(this.#server, this.port ?? 0);
  }

  /** While on, every new connection is accepted and reset. */
  resetAll(on) {
    this.#resetting = on;
  }

  /** While stalled, nothing flows from tickerd to the clients, and nothing is closed. */
  stall(on) {
    this.stalled = on;
    for (const link of this.links) link.stall(on);
  }

  async close() {
    await this.refuse(true);
    this.cut();
  }

  #accept(client) {
    if (!this.#resetting) {
      this.links.add(new Link(this, client));
      return;
    }
    this.resets++;
    client.on('error', () => {});
    client.resetAndDestroy();
  }
}
