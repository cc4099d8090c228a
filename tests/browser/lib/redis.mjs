// A private redis-server, and as much of a Redis client as publishing needs.

import net from 'node:net';
import { once } from 'node:events';
import { start, stop, temporaryFolder, removeFolder } from './children.mjs';
import { freePort } from './ports.mjs';
import { until } from './wait.mjs';

function encode(parts) {
  const chunks = [Buffer.from(`*${parts.length}\r\n`)];
  for (const part of parts) {
    const bytes = Buffer.from(part);
    chunks.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(chunks);
}

/** One connection; only commands with one-line replies (PING, PUBLISH). */
class Connection {
  #socket;
  #pending = [];
  #text = '';

  static async open(port) {
    const connection = new Connection();
    const socket = net.connect(port, '127.0.0.1');
    connection.#socket = socket;
    await once(socket, 'connect');
    socket.setNoDelay(true);
    socket.on('data', (chunk) => connection.#read(chunk));
    socket.on('error', () => {});
    socket.on('close', () => connection.#fail());
    return connection;
  }

  get usable() {
    return this.#socket.writable;
  }

  send(...parts) {
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      this.#socket.write(encode(parts));
    });
  }

  close() {
    this.#socket.destroy();
  }

  #read(chunk) {
    const lines = (this.#text + chunk.toString('latin1')).split('\r\n');
    this.#text = lines.pop();
    for (const line of lines) {
      const { resolve, reject } = this.#pending.shift();
      if (line[0] === '-') reject(new Error(`redis: ${line.slice(1)}`));
      else resolve(line[0] === ':' ? Number(line.slice(1)) : line.slice(1));
    }
  }

  #fail() {
    for (const { reject } of this.#pending.splice(0)) reject(new Error('redis: the connection was lost'));
  }
}

/** A redis-server of our own that can be killed and started again on its port. */
export class Redis {
  #folder = temporaryFolder('redis');
  #child;
  #connection;

  static async launch() {
    for (let left = 5; ; left--) {
      const redis = new Redis();
      redis.port = await freePort();
      try {
        await redis.start();
        return redis;
      } catch (error) {
        await redis.close();
        if (!left) throw error; // somebody else may have been quicker to take the port
      }
    }
  }

  async start() {
    const settings = { port: this.port, bind: '127.0.0.1', dir: this.#folder, save: '', appendonly: 'no' };
    const args = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, String(value)]);
    this.#child = start('redis-server', args, { stdio: 'ignore' });
    let ended = false;
    this.#child.gone.then(() => (ended = true));
    await until(() => {
      if (ended) throw new Error(`redis-server on port ${this.port} ended at once`);
      return this.#ping();
    }, 'redis-server to answer PING');
  }

  async kill() {
    await stop(this.#child, 'SIGKILL');
  }

  /** PUBLISH; the number of subscribers that got it. */
  async publish(channel, payload) {
    if (!this.#connection?.usable) this.#connection = await Connection.open(this.port);
    return this.#connection.send('PUBLISH', channel, payload);
  }

  async close() {
    this.#connection?.close();
    await stop(this.#child, 'SIGKILL');
    removeFolder(this.#folder);
  }

  async #ping() {
    try {
      const connection = await Connection.open(this.port);
      const reply = await connection.send('PING');
      connection.close();
      return reply === 'PONG';
    } catch {
      return false;
    }
  }
}
