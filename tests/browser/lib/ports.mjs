import net from 'node:net';

/** Listens on a free port of 127.0.0.1 and returns it. */
export function listen(server, port = 0) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve(server.address().port);
    });
  });
}

/** A port that nobody listens on at the moment, below the range from which the kernel takes ports for
 *  outgoing connections: one of those could have it by the time it is needed. */
export async function freePort() {
  for (;;) {
    const port = 15000 + Math.floor(Math.random() * 17000);
    const server = net.createServer();
    try {
      await listen(server, port);
    } catch (error) {
      if (error.code === 'EADDRINUSE') continue;
      throw error;
    }
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
