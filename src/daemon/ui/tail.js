// The live tail of one channel or pattern, by the browser's own EventSource.
//
// It asks for format=json, whose events all come to onmessage whatever their names, each with its
// channel. What an event shows is cut and copied, so that 500 lines are all that is ever held.

import { $, GAPS, clockFine, count, h, plural, put, say, settled } from './kit.js';

const LINES = 500;
const SHOWN = 4000; // characters of an event's data
const EVERY_MS = 120;
const RETRY_MS = 3000;
const ID = /^([0-9a-f]{13})-[0-9a-f]{8}-[0-9a-f]{8}$/;

/** When the broker received an event, by its id (microseconds in hex), else now. */
function timeOf(id) {
  const parts = ID.exec(id ?? '');
  return parts ? parseInt(parts[1], 16) / 1000 : Date.now();
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

export class Tail {
  #source = null;
  #target = null; // {kind, name}
  #lastId = '';
  #waiting = []; // lines not shown yet
  #skipped = 0;
  #timer = null;
  #retry = null;
  #paused = false;
  #seen = 0;
  #lost = false;

  constructor() {
    $('tail-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.open($('tail-kind').value, $('tail-name').value);
    });
    $('tail-close').addEventListener('click', () => this.#close());
    $('tail-pause').addEventListener('click', () => this.#pause(!this.#paused));
    $('tail-clear').addEventListener('click', () => this.#clear());
    $('tail-filter').addEventListener(
      'input',
      settled(() => this.#filterAll(), 80),
    );
  }

  /** Listens to a channel or pattern, from its last ten events on. */
  open(kind, name) {
    this.#stop();
    this.#clear();
    this.#pause(false);
    this.#target = { kind, name };
    this.#lastId = '';
    this.#seen = 0;
    this.#lost = false;
    $('tail-kind').value = kind;
    $('tail-name').value = name;
    $('tail-tools').hidden = false;
    $('tail').scrollIntoView({ block: 'nearest' });
    this.#state('connecting …');
    put($('tail-empty'), 'Nothing yet. Whatever is published from now on appears here.');
    this.#connect();
  }

  /** What the broker says of streams that are closed for good is only in an answer that is read. */
  #connect() {
    const { kind, name } = this.#target;
    const query = new URLSearchParams({ [kind]: name, format: 'json' });
    if (this.#lastId) query.set('last_event_id', this.#lastId);
    else query.set('history', '10');
    const url = `events?${query}`;
    const source = new EventSource(url);
    this.#source = source;
    source.onmessage = (event) => this.#event(event);
    source.addEventListener('tickerd:open', (event) => this.#opened(event));
    source.addEventListener('tickerd:gap', (event) => this.#gap(event));
    source.onerror = () => this.#error(source, url);
  }

  #opened(event) {
    const again = this.#lastId !== '' || this.#lost;
    this.#lastId = event.lastEventId;
    const { resume } = parse(event.data);
    this.#state('live');
    if (!again) return say(`Listening to ${this.#target.name}`);
    this.#lost = false;
    const how = resume === 'continued' ? 'Connected again; nothing was missed.' : 'Connected again.';
    say(`Live tail: ${how}`);
    return this.#line(this.#note(how, 'back'));
  }

  #error(source, url) {
    if (source !== this.#source) return;
    if (!this.#lost) {
      this.#lost = true;
      this.#line(this.#note('Connection lost; trying again …', 'lost'));
      say('Live tail: connection lost');
    }
    this.#state('connecting again …');
    if (source.readyState === EventSource.CLOSED) this.#refused(source, url);
  }

  async #refused(source, url) {
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(RETRY_MS), cache: 'no-store' });
      const text = answer.ok ? (answer.body?.cancel(), '') : (await answer.json()).message;
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return this.#final(source, text);
    } catch {
      // nobody there: try again below
    }
    if (source === this.#source) this.#retry = setTimeout(() => this.#connect(), RETRY_MS);
    return undefined;
  }

  #final(source, text) {
    if (source !== this.#source) return;
    this.#clear();
    this.#state('refused');
    put($('tail-empty'), text);
    say(`Live tail refused: ${text}`);
  }

  #event({ data, lastEventId }) {
    this.#lastId = lastEventId;
    this.#seen++;
    const parsed = parse(data);
    const { channel, id, event: name } = parsed;
    this.#line({ time: timeOf(lastEventId), id: id ?? lastEventId, channel, name, text: parsed.data ?? data });
  }

  #gap({ data, lastEventId }) {
    this.#lastId = lastEventId;
    const { channel, reason } = parse(data);
    const [brief, meaning] = GAPS[reason] ?? [reason, ''];
    const where = channel ? `in ${channel}` : 'in all channels of this stream';
    this.#line({
      time: timeOf(lastEventId),
      id: lastEventId,
      name: 'gap',
      kind: 'gap',
      text: `Events are missing ${where}: ${brief}. ${meaning}`,
    });
  }

  #note(text, kind) {
    return { time: Date.now(), name: '', id: '', text, kind };
  }

  #line(line) {
    this.#waiting.push(line);
    if (this.#waiting.length > LINES) {
      this.#waiting.shift();
      this.#skipped++;
    }
    this.#timer ??= setTimeout(() => this.#flush(), EVERY_MS);
  }

  #flush() {
    this.#timer = null;
    this.#count();
    if (this.#paused) return;
    const nodes = this.#waiting.splice(0).map((line) => this.#render(line));
    if (this.#skipped)
      nodes.unshift(this.#render(this.#note(`${plural(this.#skipped, 'event')} came too fast to be shown.`, 'lost')));
    this.#skipped = 0;
    const lines = $('tail-lines');
    lines.append(...nodes);
    while (lines.childElementCount > LINES) lines.firstElementChild.remove();
    $('tail-empty').hidden = lines.childElementCount > 0;
  }

  #render({ time, id, channel, name, text, kind = '' }) {
    const whole = String(text);
    const cut = whole.length > SHOWN;
    const data = h('pre', {}, cut ? whole.slice(0, SHOWN) : whole);
    if (cut) data.append(h('em', {}, ` … ${count(whole.length)} characters in all`));
    const shownName = name === 'message' ? null : name;
    const item = h(
      'li',
      { class: `event ${kind}` },
      h('time', { datetime: new Date(time).toISOString() }, clockFine(time)),
      shownName ? h('b', { class: 'name' }, shownName) : null,
      this.#target?.kind === 'pattern' && channel ? h('span', { class: 'channel' }, channel) : null,
      id ? h('code', { class: 'id', title: 'Event id' }, id) : null,
      data,
    );
    this.#filter(item, $('tail-filter').value.toLowerCase());
    return item;
  }

  #filter(item, needle) {
    item.hidden = needle !== '' && !item.textContent.toLowerCase().includes(needle);
  }

  #filterAll() {
    const needle = $('tail-filter').value.toLowerCase();
    for (const item of $('tail-lines').children) this.#filter(item, needle);
  }

  #pause(paused) {
    this.#paused = paused;
    if (!paused) this.#flush();
    this.#count();
  }

  #count() {
    const waiting = this.#paused ? this.#waiting.length : 0;
    put(
      $('tail-pause'),
      this.#paused ? `Continue${waiting ? ` (${waiting}${this.#skipped ? '+' : ''})` : ''}` : 'Pause',
    );
    if (this.#target && !this.#lost && this.#source) this.#state(this.#seen || this.#lastId ? 'live' : 'connecting …');
  }

  #state(word) {
    const { name } = this.#target;
    $('tail').dataset.state = word === 'live' ? 'live' : 'away';
    put($('tail-state'), `${name}: ${word}${this.#seen ? `, ${plural(this.#seen, 'event')}` : ''}`);
  }

  #clear() {
    this.#waiting = [];
    this.#skipped = 0;
    $('tail-lines').replaceChildren();
    $('tail-empty').hidden = false;
    this.#count();
  }

  #stop() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retry);
  }

  #close() {
    this.#stop();
    this.#clear();
    this.#target = null;
    $('tail').dataset.state = '';
    put($('tail-state'), 'A real EventSource, as a browser has it.');
    put($('tail-empty'), 'Choose a channel, or name one above.');
    $('tail-tools').hidden = true;
    $('tail-name').focus();
  }
}
