// The tables of channels and clients. Rows keep still while they are pointed at or focused: their
// figures go on, their order waits.

import {
  $,
  ask,
  bytes,
  count,
  h,
  long,
  moment,
  plural,
  put,
  reconcile,
  result,
  settled,
  short,
  toggleClass,
  why,
  widen,
} from './kit.js';

const canHover = matchMedia('(hover: hover)');

function inUse(body) {
  return body.contains(document.activeElement) || (canHover.matches && body.matches(':hover'));
}

function showRows(body, list, keyOf, make, update, force) {
  reconcile(body, list, keyOf, make, update, !force && inUse(body));
}

const cell = (name, props = {}) => h('td', { 'data-cell': name, ...props });
const set = (row, name, text) => put(row.querySelector(`[data-cell=${name}]`), text);

/** Watches whether an element can be seen, so that nothing is asked for that nobody looks at. */
function watch(element, appeared) {
  const state = { seen: false };
  const look = ([entry]) => {
    state.seen = entry.isIntersecting;
    if (state.seen) appeared();
  };
  new IntersectionObserver(look, { rootMargin: '200px' }).observe(element);
  return state;
}

/** Asks again and again, one request at a time; a newer question makes the older's answer void. */
class Asker {
  #round = 0;
  #busy = false;

  async ask(url, show, failed, force) {
    if (this.#busy && !force) return;
    const round = ++this.#round;
    this.#busy = true;
    try {
      const answer = await ask(url);
      if (round === this.#round) show(answer, force);
    } catch (error) {
      if (round === this.#round) failed(error);
    } finally {
      if (round === this.#round) this.#busy = false;
    }
  }
}

const COLUMNS = [
  ['name', 'Channel', ''],
  ['subscribers', 'Streams', 'num'],
  ['rate', 'Per second', 'num'],
  ['messages', 'Messages', 'num wide'],
  [null, 'Kept', 'num mid'],
  [null, 'Last event', 'num mid'],
];

export class Channels {
  #asker = new Asker();
  #sort = 'rate';
  #limit = 100;
  #open;
  #now = 0;
  #view = watch($('channels'), () => this.refresh());

  /** `open(kind, name)` opens a live tail. */
  constructor(open) {
    this.#open = open;
    for (const [key, label, classes] of COLUMNS) {
      const button = key
        ? h('button', { type: 'button', class: 'sort', onclick: () => this.#sortBy(key) }, label)
        : label;
      $('channels-head').append(h('th', { scope: 'col', class: classes, 'data-sort': key ?? '' }, button));
    }
    $('channels-match').addEventListener(
      'input',
      settled(() => this.refresh(true)),
    );
    $('channels-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.refresh(true);
    });
    $('channels-more').addEventListener('click', () => {
      this.#limit = 1000;
      this.refresh(true);
    });
    this.#headers();
  }

  #sortBy(key) {
    this.#sort = key;
    this.#headers();
    this.refresh(true);
  }

  #headers() {
    for (const th of $('channels-head').children) {
      const sorted = th.dataset.sort === this.#sort;
      if (sorted) th.setAttribute('aria-sort', this.#sort === 'name' ? 'ascending' : 'descending');
      else th.removeAttribute('aria-sort');
    }
  }

  refresh(force = false) {
    if (!force && !this.#view.seen) return undefined;
    const query = new URLSearchParams({ limit: this.#limit, sort: this.#sort });
    const match = $('channels-match').value.trim();
    if (match) query.set('match', /[*?[\\]/.test(match) ? match : `*${match}*`);
    return this.#asker.ask(
      `channels?${query}`,
      (answer) => this.#show(answer, force),
      (error) => error.status && put($('channels-note'), why(error)),
      force,
    );
  }

  #show({ total, channels, patterns = [] }, force) {
    this.#now = Date.now();
    const top = Math.max(1e-9, ...channels.map(({ rate }) => rate));
    const update = (row, channel) => this.#update(row, channel, top);
    showRows(
      $('channels-rows'),
      channels,
      ({ channel }) => channel,
      (item) => this.#make(item),
      update,
      force,
    );
    const filtered = $('channels-match').value.trim() !== '';
    const matching = filtered ? ' match' : '';
    put(
      $('channels-note'),
      channels.length < total
        ? `${count(channels.length)} of ${count(total)}${matching}`
        : `${plural(total, 'channel')}${matching}`,
    );
    $('channels-more').hidden = this.#limit >= 1000 || channels.length < this.#limit;
    $('channels-empty').hidden = channels.length > 0;
    put(
      $('channels-empty'),
      filtered ? 'No channel matches.' : 'No channel yet. The first message, or the first client, makes one.',
    );
    $('patterns').hidden = patterns.length === 0;
    showRows(
      $('patterns-rows'),
      patterns,
      ({ pattern }) => pattern,
      ({ pattern }) => h('tr', {}, this.#opener('pattern', pattern), cell('streams', { class: 'num' })),
      (row, { subscribers }) => set(row, 'streams', count(subscribers)),
      force,
    );
  }

  #opener(kind, name) {
    const button = h(
      'button',
      { type: 'button', class: 'link', onclick: () => this.#open(kind, name) },
      name,
      h('span', { class: 'sr' }, ': open the live tail'),
    );
    return h('th', { scope: 'row' }, button);
  }

  #make({ channel }) {
    const row = h(
      'tr',
      {},
      this.#opener('channel', channel),
      cell('streams', { class: 'num' }),
      h('td', { class: 'num' }, h('span', { 'data-cell': 'rate' }), h('i', { class: 'meter' })),
      cell('messages', { class: 'num wide' }),
      cell('kept', { class: 'num mid' }),
      cell('last', { class: 'num mid' }),
    );
    row.addEventListener('click', (event) => event.target.closest('button') || this.#open('channel', channel));
    return row;
  }

  #update(row, { subscribers, rate, messages, kept, last_at: last }, top) {
    set(row, 'streams', count(subscribers));
    set(row, 'rate', rate >= 0.05 ? short(rate) : rate > 0 ? '<0.1' : '0');
    widen(row.querySelector('.meter'), rate / top);
    set(row, 'messages', short(messages));
    set(row, 'kept', count(kept?.events));
    row.querySelector('[data-cell=kept]').title = bytes(kept?.bytes);
    const age = (this.#now - this.skew - Date.parse(last)) / 1000;
    set(row, 'last', last ? (age < 1 ? 'now' : `${long(age).split(' ').slice(0, 2).join(' ')}`) : '–');
    row.querySelector('[data-cell=last]').title = last ? moment(last) : '';
  }

  /** How far our clock is ahead of the server's, in milliseconds. */
  skew = 0;
}

const PAGE = 50;

export class Clients {
  #asker = new Asker();
  #after = [null]; // the cursors of the pages up to this one
  #next = null;
  #view = watch($('clients'), () => this.refresh());
  skew = 0;

  constructor() {
    const again = () => {
      this.#after = [null];
      this.refresh(true);
    };
    $('clients-form').addEventListener('input', settled(again));
    $('clients-form').addEventListener('submit', (event) => {
      event.preventDefault();
      again();
    });
    $('clients-next').addEventListener('click', () => this.#turn(() => this.#after.push(this.#next)));
    $('clients-back').addEventListener('click', () => this.#turn(() => this.#after.pop()));
    $('ask').addEventListener('close', () => this.#answered());
  }

  #turn(page) {
    page();
    this.refresh(true);
  }

  #query() {
    const filters = new FormData($('clients-form'));
    const query = new URLSearchParams({ limit: PAGE });
    for (const [key, value] of filters) if (value.trim()) query.set(key, value.trim());
    return query;
  }

  refresh(force = false) {
    if (!force && !this.#view.seen) return undefined;
    const query = this.#query();
    const filtered = query.size > 1;
    const after = this.#after.at(-1);
    if (after) query.set('after', after);
    return this.#asker.ask(
      `clients?${query}`,
      (answer) => this.#show(answer, filtered, force),
      (error) => error.status && put($('clients-note'), why(error)),
      force,
    );
  }

  #show({ total, clients, next }, filtered, force) {
    this.#next = next;
    const key = (client) =>
      `${client.worker} ${client.address} ${client.since} ${client.subject} ${client.channels} ${client.patterns}`;
    showRows(
      $('clients-rows'),
      clients,
      key,
      (client) => this.#make(client),
      (row, client) => this.#update(row, client),
      force,
    );
    put(
      $('clients-note'),
      `${plural(total, 'stream')} open, oldest first${this.#after.length > 1 ? `; page ${this.#after.length}` : ''}`,
    );
    $('clients-back').disabled = this.#after.length < 2;
    $('clients-next').disabled = next === null;
    $('clients-empty').hidden = clients.length > 0;
    put(
      $('clients-empty'),
      filtered ? 'No stream fits.' : this.#after.length > 1 ? 'No more.' : 'Nobody is connected.',
    );
  }

  #make(client) {
    const { address, subject, channels, patterns, worker, since } = client;
    const names = [
      ...channels.map((name) => h('code', {}, name)),
      ...patterns.map((name) => h('code', { class: 'pattern', title: 'A pattern' }, name)),
    ];
    const listens = h(
      'td',
      { class: 'names' },
      ...names.slice(0, 4).flatMap((node) => [node, ' ']),
      names.length > 4 ? `and ${names.length - 4} more` : '',
    );
    const button =
      subject !== null || channels.length
        ? h(
            'button',
            {
              type: 'button',
              class: 'quiet small',
              'aria-label': `Disconnect ${address}${subject === null ? '' : `, subject ${subject}`} …`,
              onclick: () => this.#ask(client),
            },
            'Disconnect …',
          )
        : h('span', { class: 'sr' }, 'It has neither a subject nor a channel to be disconnected by');
    return h(
      'tr',
      {},
      h('th', { scope: 'row', class: 'mono' }, address),
      h('td', { class: 'mono' }, subject ?? '–'),
      h('td', {}, h('span', { 'data-cell': 'state', class: 'dotted' })),
      listens,
      cell('since', { class: 'num mid', title: moment(since) }),
      cell('events', { class: 'num wide' }),
      cell('bytes', { class: 'num wide' }),
      cell('lag', { class: 'num mid' }),
      cell('gaps', { class: 'num wide' }),
      cell('id', { class: 'mono wide' }),
      h('td', { class: 'num wide' }, String(worker)),
      h('td', { class: 'end' }, button),
    );
  }

  #update(row, { state, since, events, bytes: sent, lag, gaps, last_id: id }) {
    set(row, 'state', state);
    toggleClass(row.querySelector('.dotted'), ['live', 'behind', 'stalled', 'waiting'], state);
    set(row, 'since', long((Date.now() - this.skew - Date.parse(since)) / 1000));
    set(row, 'events', count(events));
    set(row, 'bytes', bytes(sent));
    set(row, 'lag', lag?.events ? `${count(lag.events)} (${bytes(lag.bytes)})` : '–');
    set(row, 'gaps', gaps ? count(gaps) : '–');
    set(row, 'id', id ?? '–');
  }

  #ask({ subject, channels }) {
    const choices = [];
    const offer = (value, ...text) => {
      const input = h('input', {
        type: 'radio',
        name: 'which',
        value: JSON.stringify(value),
        checked: choices.length === 0,
      });
      choices.push(h('label', { class: 'choice' }, input, h('span', {}, ...text)));
    };
    if (subject !== null) offer({ sub: subject }, 'All of subject ', h('code', {}, subject));
    for (const channel of channels) {
      if (subject !== null)
        offer(
          { sub: subject, channel },
          'Those of subject ',
          h('code', {}, subject),
          ' that listen to ',
          h('code', {}, channel),
        );
      offer({ channel }, 'All that listen to ', h('code', {}, channel), ', whoever they are');
    }
    $('ask-choices').replaceChildren(...choices);
    $('ask').returnValue = 'no';
    $('ask').showModal();
  }

  async #answered() {
    if ($('ask').returnValue !== 'yes') return;
    const chosen = $('ask-choices').querySelector('input:checked');
    const line = $('clients-result');
    try {
      const { streams } = await ask(`disconnect?${new URLSearchParams(JSON.parse(chosen.value))}`, { method: 'POST' });
      result(line, `${plural(streams, 'stream')} closed on this instance.`);
    } catch (error) {
      result(line, `Nothing was closed: ${why(error)}`, true);
    }
    this.refresh(true);
  }
}
