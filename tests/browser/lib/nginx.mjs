// A real nginx with conf/proxy/nginx-auth-request.conf, and the application that it asks.

import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { removeFolder, start, stop, temporaryFolder } from './children.mjs';
import { freePort, listen } from './ports.mjs';
import { until } from './wait.mjs';

const PROGRAM = '/usr/sbin/nginx';
const FILES = ['nginx-auth-request.conf', 'nginx-later.conf'];
const shipped = (name) => readFileSync(new URL(`../../../conf/proxy/${name}`, import.meta.url), 'utf8');

const configuration = (folder, port) => `
daemon off;
master_process off;
pid ${folder}/pid;
error_log ${folder}/log info;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  server {
    listen 127.0.0.1:${port};
${FILES.map((name) => `    include ${folder}/${name};`).join('\n')}
  }
}
`;

/** Lets who has the session hear the channels in `granted`. */
export class Application {
  granted = new Set();
  session = `s${Math.random()}`;
  #server = null;
  port = 0;

  static async launch(...channels) {
    const application = new Application();
    channels.forEach((channel) => application.granted.add(channel));
    await application.up(true);
    return application;
  }

  async up(on) {
    if (on) {
      this.#server = http.createServer((request, response) => response.writeHead(this.#decide(request)).end());
      this.port = await listen(this.#server, this.port);
    } else {
      this.#server?.closeAllConnections();
      this.#server?.close();
      this.#server = null;
    }
  }

  #decide({ url, headers }) {
    if (url !== '/authorise') return 404;
    if (!headers.cookie?.split('; ').includes(`session=${this.session}`)) return 401;
    return this.granted.has(decodeURIComponent(headers['x-channel'])) ? 204 : 403;
  }
}

export class Nginx {
  #folder = temporaryFolder('nginx');
  #child;

  static async launch(daemonPort, applicationPort) {
    const nginx = new Nginx();
    nginx.port = await freePort();
    for (const name of FILES) {
      const text = shipped(name)
        .replaceAll('http://127.0.0.1:8090', `http://127.0.0.1:${daemonPort}`)
        .replaceAll('http://127.0.0.1:8000', `http://127.0.0.1:${applicationPort}`);
      writeFileSync(`${nginx.#folder}/${name}`, text);
    }
    const file = `${nginx.#folder}/nginx.conf`;
    writeFileSync(file, configuration(nginx.#folder, nginx.port));
    const log = `${nginx.#folder}/log`;
    nginx.#child = start(PROGRAM, ['-e', log, '-p', nginx.#folder, '-c', file], { stdio: 'ignore' });
    await until(() => nginx.#listens(), () => `nginx to listen:\n${readFileSync(log, 'utf8')}`);
    return nginx;
  }

  #listens() {
    return new Promise((resolve) => {
      const socket = net.connect(this.port, '127.0.0.1', () => resolve(socket.destroy()));
      socket.on('error', () => resolve(false));
    });
  }

  async close() {
    await stop(this.#child);
    removeFolder(this.#folder);
  }
}
