// The test's side of one client stream: the records that it reported so far.

import { until } from './wait.mjs';

export class Stream {
  records = [];
  #close;

  constructor(close) {
    this.#close = close;
  }

  report = (record) => {
    this.records.push(record);
  };

  close() {
    return this.#close();
  }

  get events() {
    return this.records.filter((record) => record.kind === 'event');
  }

  /** Events that are not the broker's own. */
  get messages() {
    return this.events.filter((event) => !event.type.startsWith('tickerd:'));
  }

  /** The tickerd:open events, parsed. */
  get opens() {
    return this.#broker('tickerd:open');
  }

  /** The tickerd:gap events, parsed. */
  get gaps() {
    return this.#broker('tickerd:gap');
  }

  get errors() {
    return this.records.filter((record) => record.kind === 'error');
  }

  /** Waits for a condition; fails at once when the client gives up for good. */
  until(condition, what, timeout) {
    const check = () => {
      if (this.errors.some((error) => error.closed)) throw new Error(`the client gave up:\n${this.tail()}`);
      return condition(this);
    };
    return until(check, () => `${what}; seen so far:\n${this.tail()}`, timeout);
  }

  tail(count = 12) {
    return this.records.slice(-count).map((record) => JSON.stringify(record)).join('\n');
  }

  #broker(type) {
    return this.events.filter((event) => event.type === type).map((event) => ({ id: event.id, ...JSON.parse(event.data) }));
  }
}
