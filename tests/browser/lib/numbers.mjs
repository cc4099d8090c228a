// Numbered messages published all the time, and the proof that a client saw each of them once and in
// order, or a gap where some are missing.

import { pause, until } from './wait.mjs';

const FORMS = [
  (n) => ({ wire: `${n}`, data: `${n}` }),
  (n) => ({ wire: `${n}\n  second line, grüße ✓`, data: `${n}\n  second line, grüße ✓` }),
  (n) => ({ wire: `${n} ${'x'.repeat((n * 37) % 200)}`, data: `${n} ${'x'.repeat((n * 37) % 200)}` }),
  (n) => ({ wire: JSON.stringify({ data: `${n} named`, event: 'score' }), data: `${n} named`, type: 'score' }),
  (n) => ({ wire: `${n}\r\ntwo\rthree`, data: `${n}\ntwo\nthree` }),
];

/** Message n: what is published, and the data and type of the event that comes of it. */
export function numbered(n) {
  return { type: 'message', ...FORMS[n % FORMS.length](n) };
}

/** Publishes 0, 1, 2 … to the channels in turn until it is stopped. */
export class Ticker {
  /** The highest number that Redis took. */
  last = -1;
  #running = true;
  #done;

  constructor(redis, channels, interval = 4) {
    this.#done = this.#run(redis, channels, interval);
  }

  /** Waits until `count` more have been published. */
  async more(count) {
    const goal = this.last + count;
    await until(() => this.last >= goal, `${count} more messages to be published`);
  }

  /** Stops; the last number. */
  async stop() {
    this.#running = false;
    await this.#done;
    return this.last;
  }

  async #run(redis, channels, interval) {
    for (let n = 0; this.#running; n++) {
      try {
        await redis.publish(channels[n % channels.length], numbered(n).wire);
        this.last = n;
      } catch {
        // Redis is away: this number is lost, and nobody can have missed it without a gap
      }
      await pause(interval);
    }
  }
}

function judge(event, next) {
  const n = parseInt(event.data, 10);
  const expected = Number.isNaN(n) ? null : numbered(n);
  const via = expected?.type === 'message' ? 'onmessage' : 'listener';
  if (event.data !== expected?.data || event.type !== expected.type || event.via !== via) {
    return { next, problem: `not what was published: ${JSON.stringify(event)}` };
  }
  if (n < next) return { next, problem: `${n} came again or late, ${next} was due` };
  return { next: n + 1, missing: n > next ? `${next}…${n - 1}` : null };
}

/** What is wrong with the events a client saw, given that `last` was the last number; [] if nothing. */
export function problems(events, last) {
  const found = [];
  let next = 0;
  let announced = false;
  for (const event of events) {
    if (event.type === 'tickerd:gap') announced = true;
    if (event.type.startsWith('tickerd:')) continue;
    const verdict = judge(event, next);
    if (verdict.problem) found.push(verdict.problem);
    if (verdict.missing && !announced) found.push(`${verdict.missing} missing, without a gap`);
    if (!verdict.problem) announced = false;
    next = verdict.next;
  }
  if (next !== last + 1) found.push(`the last seen is ${next - 1}, the last published ${last}`);
  return found;
}

/** True once the client saw number n. */
export function saw(stream, n) {
  return stream.messages.some((event) => parseInt(event.data, 10) === n);
}
