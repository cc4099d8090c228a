// The DOM by hand (text only, never markup), requests, and numbers and times as people read them.

export const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';

function fill(element, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An HTML element; children are nodes, or strings that become text. */
export const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);
/** An SVG element. */
export const s = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Sets text, but leaves the DOM alone where it says that already. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function toggleClass(element, names, which) {
  for (const name of names) element.classList.toggle(name, name === which);
}

/** A width in percent, by CSSOM (the page's policy allows no style attributes). */
export function widen(element, part) {
  element.style.width = `${(100 * Math.min(1, Math.max(0, part || 0))).toFixed(1)}%`;
}

/**
 * Makes the children of `parent` agree with `list`, element by key, moving as little as possible;
 * where they are to keep `still`, those that are there are brought up to date, and that is all.
 */
export function reconcile(parent, list, keyOf, make, update, still = false) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const times = new Map(); // that a key came
  let place = parent.firstElementChild;
  for (const item of list) {
    const name = keyOf(item);
    times.set(name, (times.get(name) ?? 0) + 1);
    const key = `${times.get(name)} ${name}`;
    const element = old.get(key) ?? (still ? null : make(item));
    old.delete(key);
    if (element === null) continue;
    update(element, item);
    element.dataset.key = key;
    if (element === place) place = place.nextElementSibling;
    else if (!still) parent.insertBefore(element, place);
  }
  if (!still) for (const element of old.values()) element.remove();
}

/** Says something to screen readers. */
export const say = (text) => put($('say'), text);

/** A sentence about how an action went, beside its button. */
export function result(element, text, bad = false) {
  element.classList.toggle('bad', bad);
  element.textContent = text;
}

/** A request's JSON; throws an Error whose message is the server's own sentence where there is one. */
export async function ask(url, options = {}) {
  const response = await fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(8000), ...options });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const message = answer?.message ?? `tickerd answered ${response.status} ${response.statusText}`;
  throw Object.assign(new Error(message), { status: response.status, answer });
}

/** Why a request failed, for people. */
export const why = (error) => (error.status ? error.message : 'No answer from tickerd.');

/** Calls `action` once it has been quiet for a moment. */
export function settled(action, ms = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, ms);
  };
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const digits = (n) => (n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2);
const trim = (n) => Number(n.toFixed(digits(n))).toString();

export const known = (n) => typeof n === 'number' && Number.isFinite(n);
const format = (how) => (n) => (known(n) ? how(n) : '–');

export const count = format((n) => whole.format(n));
/** At most four digits: 7, 1.5, 1,204, 12.3 k, 4.56 M */
export const short = format((n) => {
  if (n < 100) return Number(n.toFixed(n < 10 ? 1 : 0)).toString();
  if (n < 9999.5) return whole.format(n);
  const [unit, by] = n < 999500 ? ['k', 1e3] : n < 9.995e8 ? ['M', 1e6] : ['G', 1e9];
  return `${trim(n / by)} ${unit}`;
});
/** For axes: 500, 20 k, 1.5 M */
export const axis = (n) =>
  n < 1000 ? String(Number(n.toFixed(2))) : n < 1e6 ? `${trim(n / 1e3)} k` : `${trim(n / 1e6)} M`;
export const bytes = format((n) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1024;
  return `${i ? trim(n) : Math.round(n)} ${units[i]}`;
});
/** A short time: 210 µs, 4.2 ms, 1.5 s */
export const brief = format((n) => {
  if (n < 999.5e-6) return `${Math.max(1, Math.round(n * 1e6))} µs`;
  return n < 0.9995 ? `${trim(n * 1e3)} ms` : `${trim(n)} s`;
});
/** A long time: 42 s, 5 min 3 s, 2 h 10 min, 3 d 4 h */
export const long = format((n) => {
  const parts = [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const seconds = Math.max(0, Math.floor(n));
  const i = Math.max(
    0,
    parts.findIndex(([size]) => seconds >= size || size === 1),
  );
  const text = ([size, unit], rest) => `${Math.floor(rest / size)} ${unit}`;
  const next = parts[i + 1];
  const minor = next ? Math.floor((seconds % parts[i][0]) / next[0]) : 0;
  return text(parts[i], seconds) + (minor ? ` ${minor} ${next[1]}` : '');
});

const time = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
export const clock = (t) => time.format(t);
export const clockShort = (t) => minute.format(t);
export const clockFine = (t) => `${time.format(t)}.${String(Math.floor(t % 1000)).padStart(3, '0')}`;
/** A moment: with its day, unless that is today. */
export function moment(text) {
  const t = Date.parse(text);
  if (Number.isNaN(t)) return '–';
  return new Date(t).toDateString() === new Date().toDateString() ? clock(t) : `${day.format(t)}, ${clock(t)}`;
}
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** What a gap's reason means: [in short, at length]. */
export const GAPS = {
  evicted: ['left the history', 'The stream was behind, or away for so long that what it needed had left the history.'],
  restart: [
    'tickerd restarted',
    'What was published while tickerd was not running, or not kept over the restart, cannot be replayed.',
  ],
  upstream: ['Redis was out of reach', 'What was published to Redis meanwhile never arrived here.'],
  unsubscribed: ['nobody listened', 'In on-demand mode nothing is kept of a channel that nobody here listens to.'],
  slow: ['too slow', 'The client read more slowly than events came, until they had left the history.'],
  oversize: ['too large', 'A message was larger than limits.message_bytes and was not delivered.'],
  'unknown-id': ['unknown id', 'The client came back with an id that is not known here, and got all that is kept.'],
};

export const CLOSED = {
  client: 'Left by themselves',
  timeout: 'Took nothing for limits.write_timeout',
  slow: 'Too slow for a channel that disconnects',
  expired: 'Token ran out',
  revoked: 'Right taken away, or disconnected',
  max_age: 'Reached stream.max_age',
  drain: 'Drained',
  shutdown: 'tickerd ended',
  refused: 'Refused: no room',
  memory: 'No memory left',
  error: 'Connection error',
};

export const MEMORY = {
  histories: 'Histories',
  frames: 'Frames in flight',
  views: 'Views of the workers',
  connections: 'Connections',
  inboxes: 'Inboxes between threads',
};
