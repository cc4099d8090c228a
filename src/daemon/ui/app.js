// The dashboard of tickerd: asks /status once a second and shows what has become of it.

import {
  $,
  CLOSED,
  GAPS,
  MEMORY,
  ask,
  brief,
  bytes,
  clock,
  count,
  h,
  known,
  long,
  moment,
  plural,
  put,
  reconcile,
  result,
  say,
  short,
  toggleClass,
  why,
  widen,
} from './kit.js';
import { Chart, Spark } from './chart.js';
import { Timeline } from './timeline.js';
import { Tail } from './tail.js';
import { Channels, Clients } from './tables.js';

const EVERY_MS = 1000;
const RETRY_MS = 2000;
const timeline = new Timeline();
const tail = new Tail();
const channels = new Channels((kind, name) => {
  tail.open(kind, name);
  $('tail').focus({ preventScroll: true });
});
const clients = new Clients();

const CHARTS = [
  { id: 'chart-clients', title: 'Clients', series: [{ key: 'clients' }], format: count, empty: 'Nobody is connected' },
  {
    id: 'chart-messages',
    title: 'Messages per second',
    series: [{ key: 'messages' }],
    format: short,
    empty: 'No message yet',
  },
  {
    id: 'chart-deliveries',
    title: 'Deliveries per second',
    series: [{ key: 'deliveries' }],
    format: short,
    empty: 'No delivery yet',
  },
  {
    id: 'chart-latency',
    title: 'Latency',
    series: [
      { key: 'p50', label: 'Median' },
      { key: 'p99', label: '99 %' },
    ],
    format: brief,
    tick: brief,
    log: true,
    empty: 'No delivery yet',
  },
  {
    id: 'chart-lagging',
    title: 'Lagging streams',
    series: [{ key: 'lagging' }],
    format: count,
    empty: 'Everybody has everything',
  },
  {
    id: 'chart-gaps',
    title: 'Gaps per second',
    series: [{ key: 'gaps', stem: true }],
    format: count,
    empty: 'Nobody has missed anything',
  },
].map((spec) => new Chart(spec));
$('chart-grid').append(...CHARTS.map(({ element }) => element));

// ---- Key figures

const FIGURES = [
  {
    key: 'clients',
    label: 'Clients',
    value: (s) => count(s.clients),
    note: (s) => (s.clients_max ? `of ${count(s.clients_max)}` : ''),
  },
  { key: 'messages', label: 'Messages', value: () => short(timeline.now('messages')), note: () => 'per second' },
  { key: 'deliveries', label: 'Deliveries', value: () => short(timeline.now('deliveries')), note: () => 'per second' },
  { key: 'bytes', label: 'Written', value: () => bytes(timeline.now('bytes')), note: () => 'per second' },
  {
    key: 'p99',
    label: 'Latency',
    value: () => brief(timeline.latency(0.5)),
    note: () => `99 %: ${brief(timeline.latency(0.99))}`,
  },
  {
    key: 'lagging',
    label: 'Lagging',
    value: (s) => count(s.lagging),
    note: () => 'streams',
    warn: (s) => s.lagging > 0,
  },
  {
    key: 'gaps',
    label: 'Gaps',
    value: () => count(timeline.gapsPerMinute),
    note: () => 'in the last minute',
    warn: () => timeline.gapsPerMinute > 0,
  },
  { key: 'rss', label: 'Memory', value: (s) => bytes(s.memory?.rss), note: () => 'resident' },
].map((figure) => {
  const number = h('span', { class: 'number' }, '–');
  const unit = h('span', { class: 'unit' });
  const small = h('dd', { class: 'note' }, '\u00a0');
  const spark = new Spark();
  const box = h(
    'div',
    { class: 'figure', id: `figure-${figure.key}` },
    h('dt', {}, figure.label),
    h('dd', { class: 'value' }, number, unit),
    small,
    h('dd', { class: 'wave', 'aria-hidden': 'true' }, spark.element),
  );
  $('figures').append(box);
  return { ...figure, number, unit, small, spark, box };
});

function showFigures(status, now) {
  for (const { key, value, note, warn, number, unit, small, spark, box } of FIGURES) {
    const [digits, ...rest] = value(status).split(' ');
    put(number, digits);
    put(unit, rest.length ? ` ${rest.join(' ')}` : '');
    put(small, note(status));
    box.classList.toggle('warn', Boolean(warn?.(status)));
    spark.draw(timeline.samples, key, now);
  }
}

// ---- Header and summary

const serverNow = () => Date.now() - channels.skew;
const since = (text) => (text ? long((serverNow() - Date.parse(text)) / 1000) : '');

function headline(status) {
  const { redis, state, clients: n, lagging } = status;
  if (state === 'draining') return ['bad', `Draining: ${plural(n, 'stream')} left, each told when to come back.`];
  if (redis.state === 'down') {
    const when = redis.since ? ` since ${moment(redis.since)} (${since(redis.since)})` : '';
    return [
      'bad',
      `Redis is out of reach${when}. Streams stay open, but what is published meanwhile does not arrive here; every client will be told by a gap.`,
    ];
  }
  if (redis.state === 'partly')
    return [
      'warn',
      'Some nodes of Redis are out of reach: what is published there does not arrive here, and clients are told by a gap.',
    ];
  if (state === 'starting') return ['warn', 'Starting.'];
  const reload = status.config?.last_reload;
  if (reload && !reload.ok)
    return ['warn', 'The last reload was refused, and the configuration before it is still in force: see Operate.'];
  if (n === 0) return ['ok', 'All is well, and nobody is listening yet.'];
  const behind =
    lagging > 0 ? ` ${plural(lagging, 'stream is', 'streams are')} catching up.` : ' Everybody has everything.';
  return ['ok', `All is well: ${plural(n, 'client')} and ${plural(status.channels, 'channel')}.${behind}`];
}

function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value);
  const make = ([label]) => h('div', {}, h('dt', {}, label), h('dd'));
  reconcile(
    list,
    shown,
    ([label]) => label,
    make,
    (row, [, value, state = '']) => {
      put(row.lastChild, value);
      toggleClass(row.lastChild, ['ok', 'warn', 'bad'], state);
    },
  );
}

const REDIS = { up: ['up', 'ok'], partly: ['partly up', 'warn'], down: ['down', 'bad'] };

function showHead(status) {
  const { redis, state } = status;
  put($('version'), status.version);
  put($('state'), state);
  toggleClass($('state'), ['ok', 'warn', 'bad'], state === 'running' ? 'ok' : 'warn');
  const [mood, sentence] = headline(status);
  put($('lead'), sentence);
  toggleClass($('lead'), ['ok', 'warn', 'bad'], mood);
  const [word, tone] = REDIS[redis.state] ?? [redis.state, 'warn'];
  const trip = known(redis.round_trip) ? `, answers in ${brief(redis.round_trip)}` : '';
  facts($('facts'), [
    ['Redis', `${word}${redis.since ? ` for ${since(redis.since)}` : ''}${trip}`, tone],
    ['Outages', redis.outages ? count(redis.outages) : ''],
    ['Up', long(status.uptime)],
    ['Reads', `${redis.address ?? ''} ${redis.prefix ? `${redis.prefix}*` : ''}`],
  ]);
  document.title = `${mood === 'ok' ? '' : '⚠ '}${plural(status.clients, 'client')} · tickerd`;
  icon(mood);
  put(
    $('listeners'),
    `Serving ${status.listeners?.join(', ') ?? ''}; this page at ${status.admin ?? location.host}; process ${status.pid}`,
  );
}

let shownIcon = '';
function icon(mood) {
  if (shownIcon === mood) return;
  shownIcon = mood;
  const colour = { ok: '0b7a75', warn: 'a15c00', bad: 'b42318' }[mood];
  $('icon').href =
    `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#${colour}"/><path d="M4 16h6l3-7 5 14 3-7h7" fill="none" stroke="#fff" stroke-width="2.6" stroke-linejoin="round" stroke-linecap="round"/></svg>`)}`;
}

// ---- Health

function showGaps({ gaps = {}, recent_gaps: recent = [] }) {
  const reasons = Object.entries(gaps).filter(([, n]) => n > 0);
  $('gaps-total').hidden = reasons.length === 0;
  reconcile(
    $('gaps-total'),
    reasons,
    ([reason]) => reason,
    ([reason]) => h('span', { class: 'chip' }, `${GAPS[reason]?.[0] ?? reason} `, h('b')),
    (chip, [, n]) => put(chip.lastChild, count(n)),
  );
  const key = ({ at, reason, channel }) => `${at} ${reason} ${channel}`;
  const make = ({ at, reason, channel }) => {
    const [brief, meaning] = GAPS[reason] ?? [reason, ''];
    return h(
      'li',
      {},
      h('time', { datetime: at }, moment(at)),
      h(
        'p',
        {},
        h('b', { class: 'name' }, brief),
        ' ',
        channel === null ? 'all channels' : h('code', {}, channel),
        h('span', { class: 'faint' }),
      ),
      h('p', { class: 'hint' }, meaning),
    );
  };
  reconcile($('gaps-list'), recent, key, make, (item, { clients: n }) =>
    put(item.querySelector('.faint'), ` · ${plural(n, 'client')}`),
  );
  $('gaps-empty').hidden = recent.length > 0;
  put($('gaps-empty'), reasons.length ? 'None lately.' : 'No gap yet: nobody has missed anything.');
}

/** Rows of a label, figures, and a bar for the first of them. */
function bars(body, rows) {
  const most = Math.max(1e-9, ...rows.map(({ n }) => n));
  const make = ({ label, cells }) =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, label, h('i', { class: 'meter' })),
      ...cells.map(() => h('td', { class: 'num' })),
    );
  reconcile(
    body,
    rows,
    ({ label }) => label,
    make,
    (row, { n, cells }) => {
      widen(row.querySelector('.meter'), n / most);
      cells.forEach((text, i) => put(row.children[i + 1], text));
    },
  );
}

function showHealth(status) {
  showGaps(status);
  const { closed = {}, memory = {}, workers = [], totals = {} } = status;
  const ended = Object.entries(closed)
    .filter(([, n]) => n > 0)
    .sort(([, a], [, b]) => b - a);
  bars(
    $('closed-rows'),
    ended.map(([reason, n]) => ({ label: CLOSED[reason] ?? reason, n, cells: [count(n)] })),
  );
  put(
    $('closed-note'),
    `${ended.length ? 'by reason' : 'none yet'}; ${count(totals.streams)} opened, ${count(totals.refused)} requests refused`,
  );
  const rates = timeline.now('workers') ?? timeline.last?.workers;
  bars(
    $('workers-rows'),
    workers.map((w, i) => ({
      label: `Worker ${i}`,
      n: w.clients,
      cells: [count(w.clients), short(rates?.[i]), count(w.lagging)],
    })),
  );
  const parts = Object.entries(memory)
    .filter(([part]) => part !== 'rss')
    .sort(([, a], [, b]) => b - a);
  bars(
    $('memory-rows'),
    parts.map(([part, n]) => ({ label: MEMORY[part] ?? part, n, cells: [bytes(n)] })),
  );
  put($('memory-note'), `${bytes(memory.rss)} resident`);
}

// ---- Operate

const keysOf = ({ keys_added: added = 0, keys_removed: removed = 0 }) =>
  added + removed ? `Keys that tokens are verified with: ${count(added)} added, ${count(removed)} removed` : '';

/** What a reload did, in paragraphs. */
function reloadLines(last) {
  const { at, ok, changed = [], needs_restart: later = [], errors = [] } = last;
  const names = (list) => list.flatMap((name, i) => [i ? ', ' : '', h('code', {}, name)]);
  const keys = keysOf(last);
  const head = h('p', {}, h('b', {}, ok ? 'Reloaded' : 'Refused'), ` ${moment(at)}`);
  if (!ok) head.append('; the configuration before it stays in force');
  return [
    head,
    changed.length ? h('p', {}, 'Changed: ', ...names(changed)) : null,
    keys ? h('p', {}, keys) : null,
    later.length ? h('p', { class: 'warn' }, 'In force only after a restart: ', ...names(later)) : null,
    errors.length ? h('ul', { class: 'errors' }, ...errors.map((line) => h('li', {}, line))) : null,
    ok && !changed.length && !later.length && !keys ? h('p', {}, 'Nothing was different.') : null,
  ].filter(Boolean);
}

function showReload(last) {
  const box = $('reload-last');
  const key = JSON.stringify(last ?? null);
  box.hidden = !last;
  if (!last || box.dataset.key === key) return;
  box.dataset.key = key;
  box.classList.toggle('bad', !last.ok);
  box.replaceChildren(...reloadLines(last));
}

function showOperate(status) {
  const { config = {}, admin_publish: may, redis } = status;
  $('publish-form').hidden = !may;
  $('publish-off').hidden = may;
  put($('publish-hint'), `redis-cli PUBLISH ${redis.prefix ?? ''}news hello`);
  put($('config-file'), config.file ?? 'No file: defaults and the command line');
  facts($('config-facts'), [
    ['Loaded', config.loaded ? moment(config.loaded) : ''],
    ['Reloads', count(config.reloads)],
    ['Mode', redis.mode],
  ]);
  showReload(config.last_reload);
}

function reloaded(answer) {
  const { changed, needs_restart: later } = answer;
  if (!changed.length && !later.length) return keysOf(answer) ? 'Done.' : 'Read again; nothing was different.';
  return `Done: ${plural(changed.length, 'setting')} changed${later.length ? `, ${count(later.length)} only after a restart` : ''}.`;
}

$('reload').addEventListener('click', async () => {
  const line = $('reload-result');
  $('reload').setAttribute('aria-disabled', 'true');
  result(line, 'Reading …');
  try {
    result(line, reloaded(await ask('reload', { method: 'POST' })));
  } catch (error) {
    result(line, error.answer?.error === 'bad_config' ? 'Refused: see above.' : why(error), true);
  }
  $('reload').removeAttribute('aria-disabled');
  refresh();
});

/** The payload: the data as it is, or in an envelope that names the event. */
function payload() {
  const event = $('publish-event').value.trim();
  const data = $('publish-data').value;
  return event ? JSON.stringify({ event, data }) : data;
}

$('publish-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const line = $('publish-result');
  const channel = $('publish-channel').value;
  try {
    const { receivers } = await ask(`publish?${new URLSearchParams({ channel })}`, { method: 'POST', body: payload() });
    result(
      line,
      receivers
        ? `Published at ${clock(Date.now())}; Redis passed it to ${plural(receivers, 'subscriber')}.`
        : 'Published, but nobody was subscribed at Redis.',
      !receivers,
    );
  } catch (error) {
    result(line, `Not published: ${why(error)}`, true);
  }
});

// ---- The clock of it all

let timer = null;
let pending = false;
let lostAt = 0; // when answers stopped, 0 while they come
let mood = '';
let turn = 0;
let hole = 'not watched'; // why there was no answer for a while

function announce(status) {
  const now = `${status.state} ${status.redis.state} ${lostAt > 0}`;
  if (mood && now !== mood) say(`tickerd is ${status.state}, Redis is ${status.redis.state}.`);
  mood = now;
}

function lost(error) {
  hole = 'no answer';
  if (!lostAt) {
    lostAt = Date.now();
    if (timeline.status) say('No answer from tickerd. What is shown is what was known last.');
    mood = 'lost';
    document.title = '⚠ no answer · tickerd';
    icon('bad');
  }
  $('lost').hidden = false;
  put($('state'), 'no answer');
  toggleClass($('state'), ['ok', 'warn', 'bad'], 'bad');
  document.body.classList.add('stale');
  put($('lost-what'), error.status ? error.message : 'No answer from tickerd');
  put(
    $('lost-since'),
    `since ${clock(lostAt)}. ${timeline.status ? 'What is shown is what was known then. ' : ''}Trying again every ${RETRY_MS / 1000} seconds.`,
  );
}

function found() {
  lostAt = 0;
  $('lost').hidden = true;
  document.body.classList.remove('stale');
}

function show(status) {
  const now = Date.now();
  channels.skew = clients.skew = now - Date.parse(status.now);
  timeline.add(status, now, hole);
  hole = 'not watched';
  if (lostAt) found();
  announce(status);
  showHead(status);
  showFigures(status, now);
  for (const chart of CHARTS) chart.draw(timeline.samples, now);
  showHealth(status);
  showOperate(status);
}

async function refresh() {
  if (pending || document.hidden) return;
  clearTimeout(timer);
  pending = true;
  const began = performance.now();
  let wait = RETRY_MS;
  try {
    const status = await ask('status', { signal: AbortSignal.timeout(5000) });
    show(status);
    if (turn % 2 === 0) channels.refresh(turn === 0);
    if (turn % 5 === 0) clients.refresh(turn === 0);
    turn++;
    wait = EVERY_MS - (performance.now() - began);
  } catch (error) {
    if (!(error instanceof DOMException) && !(error instanceof TypeError) && !error.status) console.error(error);
    lost(error);
  }
  pending = false;
  if (!document.hidden) timer = setTimeout(refresh, Math.max(100, wait));
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  refresh();
});
refresh();
