// JSON Web Tokens, and the key that the daemon verifies them with.

import { createHmac, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { removeFolder, temporaryFolder } from './children.mjs';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export class Issuer {
  #secret = randomBytes(32).toString('hex');
  #folder = temporaryFolder('secret');

  /** Settings of a daemon that wants tokens of this issuer, from the cookie `session` too. */
  get settings() {
    const file = path.join(this.#folder, 'secret');
    writeFileSync(file, this.#secret, { mode: 0o600 });
    return {
      'auth.mode': 'required',
      'auth.keys': JSON.stringify([{ alg: 'HS256', file }]),
      'auth.cookie': 'session',
      'auth.leeway': '0s',
    };
  }

  /** A token for these channels that is good for so many seconds. */
  token(channels, seconds, sub = '42') {
    const exp = Math.floor(Date.now() / 1000) + seconds;
    const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub, exp, channels })}`;
    return `${text}.${createHmac('sha256', this.#secret).update(text).digest('base64url')}`;
  }

  close() {
    removeFolder(this.#folder);
  }
}
