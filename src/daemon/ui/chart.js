// Charts over the samples of a timeline, drawn as SVG at the size they are shown.

import { axis, clock, clockShort, h, known, put, s, toggleClass } from './kit.js';

const LEFT = 52;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 20;
// How much time is shown, growing with what is known, and the distance of its ticks.
const SPANS = [
  [60_000, 15_000],
  [120_000, 30_000],
  [300_000, 60_000],
  [600_000, 120_000],
];
const PAGE = 30; // samples that Page Up and Page Down move by

const charts = new Set();
let cursor = null; // the sample that is pointed at, in all charts

function point(sample) {
  cursor = sample;
  for (const chart of charts) chart.showCursor();
}

export function niceStep(rough, least) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.9999);
  return Math.max(step, least);
}

/** A linear scale from zero: {top, ticks}. */
function linear(values, least) {
  const max = Math.max(0, ...values);
  const step = niceStep(Math.max(max, least * 4) / 4, least);
  const top = Math.ceil(Math.max(max, step * 4) / step - 1e-9) * step;
  const ticks = [];
  for (let v = 0; v <= top + step / 2; v += step) ticks.push(v);
  return { at: (v) => v / top, ticks: ticks.slice(0, 6) };
}

/** A logarithmic one, over whole decades. */
function logarithmic(values) {
  const good = values.filter((v) => v > 0);
  let low = Math.floor(Math.log10(Math.min(...good, 1e-3)) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(Math.max(...good, 1e-3)) - 1e-9), low + 2);
  low = Math.min(low, high - 2);
  const ticks = [];
  for (let p = low; p <= high; p++) ticks.push(10 ** p);
  return { at: (v) => Math.max(0, (Math.log10(v) - low) / (high - low)), ticks };
}

/** The path of a series; a lone sample becomes a dot. */
function line(samples, key, x, y) {
  let path = '';
  let open = false;
  samples.forEach((sample, i) => {
    const value = sample[key];
    if (!known(value)) return (open = false);
    const next = samples[i + 1];
    const to = `${x(sample.t).toFixed(1)} ${y(value).toFixed(1)}`;
    path += open && !sample.hole ? `L${to}` : `M${to}`;
    if ((!open || sample.hole) && !(next && known(next[key]) && !next.hole)) path += 'h.01';
    open = true;
  });
  return path;
}

/** The same, closed along the ground. */
function area(path, ground) {
  return path
    .split('M')
    .filter((part) => part.includes('L'))
    .map((part) => {
      const points = part.split('L');
      const [from, to] = [points[0], points.at(-1)].map((p) => p.split(' ')[0]);
      return `M${from} ${ground}L${part}L${to} ${ground}Z`;
    })
    .join('');
}

function stems(samples, key, x, y, ground) {
  return samples
    .filter((sample) => sample[key] > 0)
    .map((sample) => `M${x(sample.t).toFixed(1)} ${ground}V${y(sample[key]).toFixed(1)}`)
    .join('');
}

/** A small line without axes, over the last two minutes. */
export class Spark {
  #path = s('path', { class: 'line' });
  #area = s('path', { class: 'area' });
  element = s(
    'svg',
    { class: 'spark', viewBox: '0 0 120 28', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    this.#area,
    this.#path,
  );

  draw(samples, key, now) {
    const span = Math.min(120_000, Math.max(30_000, now - samples[0].t));
    const shown = samples.filter(({ t }) => t >= now - span);
    const max = Math.max(1e-9, ...shown.map((sample) => sample[key] ?? 0)) * 1.08;
    const path = line(
      shown,
      key,
      (t) => 120 - (120 * (now - t)) / span,
      (v) => 26.5 - 25 * (v / max),
    );
    this.#path.setAttribute('d', path);
    this.#area.setAttribute('d', area(path, 28));
  }
}

/** One chart; spec: {id, title, series: [{key, label, stem}], format, tick, log, least, empty} */
export class Chart {
  #spec;
  #samples = [];
  #now = 0;
  #entries = [];
  #grid = s('g', { class: 'grid' });
  #holes = s('g', { class: 'holes' });
  #down = s('path', { class: 'down' });
  #fill = s('path', { class: 'area' });
  #lines = [];
  #hair = s('path', { class: 'hair' });
  #dots = [];
  #svg = s('svg', { 'aria-hidden': 'true' });
  #empty = h('p', { class: 'none', hidden: true });
  #summary = h('p', { class: 'sr' });
  #when = s('text', { class: 'when middle' });
  #plot;
  #size = { width: 0, height: 0 };
  #x = () => 0;
  #y = () => 0;

  constructor(spec) {
    this.#spec = spec;
    const colours = spec.series.map((_, i) => `c${i}`);
    this.#lines = spec.series.map(({ stem }, i) => s('path', { class: `${stem ? 'stem' : 'line'} ${colours[i]}` }));
    this.#dots = spec.series.map((_, i) => s('circle', { class: `dot ${colours[i]}`, r: 3.5 }));
    this.#fill.classList.add('c0');
    const hatch = s(
      'pattern',
      { id: `${spec.id}-hatch`, width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
      s('path', { d: 'M0 0V6', class: 'hatch' }),
    );
    this.#svg.append(
      s('defs', {}, hatch),
      this.#grid,
      this.#holes,
      this.#fill,
      ...this.#lines.toReversed(),
      this.#down,
      this.#hair,
      this.#when,
      ...this.#dots,
    );
    this.#plot = h(
      'div',
      {
        class: 'plot',
        tabindex: 0,
        role: 'slider',
        'aria-label': `${spec.title}: time`,
        'aria-describedby': `${spec.id}-text`,
      },
      this.#svg,
      this.#empty,
    );
    this.#summary.id = `${spec.id}-text`;
    const legend = spec.series.map(({ label }, i) => {
      const value = h('b', {}, '–');
      this.#entries.push(value);
      return h('li', {}, label ? h('i', { class: `key ${colours[i]}` }) : null, label ? `${label} ` : null, value);
    });
    const caption = h('figcaption', {}, h('h3', {}, spec.title), h('ul', { class: 'legend' }, ...legend));
    this.element = h('figure', { class: 'chart card', id: spec.id }, caption, this.#plot, this.#summary);
    this.#listen();
    charts.add(this);
  }

  #listen() {
    const plot = this.#plot;
    const under = (event) => this.#nearest(event.clientX - plot.getBoundingClientRect().left);
    for (const type of ['pointermove', 'pointerdown']) plot.addEventListener(type, (event) => point(under(event)));
    plot.addEventListener('pointerleave', () => point(null));
    plot.addEventListener('blur', () => point(null));
    plot.addEventListener('keydown', (event) => this.#key(event));
    plot.addEventListener('focus', () => {
      if (!plot.matches(':focus-visible')) return;
      point(this.#samples.at(-1) ?? null);
      this.#announce();
    });
    new ResizeObserver(([{ contentRect }]) => {
      this.#size = { width: Math.round(contentRect.width), height: Math.round(contentRect.height) };
      this.#redraw();
    }).observe(plot);
  }

  #nearest(px) {
    let best = null;
    let distance = 24;
    for (const sample of this.#shown()) {
      const d = Math.abs(this.#x(sample.t) - px);
      if (d < distance) [best, distance] = [sample, d];
    }
    return best;
  }

  #key(event) {
    const list = this.#shown();
    const at = Math.max(0, cursor ? list.indexOf(cursor) : list.length - 1);
    const to = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageDown: at - PAGE,
      PageUp: at + PAGE,
      Home: 0,
      End: list.length - 1,
    }[event.key];
    if (event.key === 'Escape') return point(null);
    if (to === undefined || !list.length) return undefined;
    event.preventDefault();
    point(list[Math.min(list.length - 1, Math.max(0, to))]);
    return this.#announce();
  }

  #announce() {
    const list = this.#shown();
    if (!cursor || !list.length) return;
    const values = this.#spec.series.map(({ key, label }) => `${label ?? ''} ${this.#spec.format(cursor[key])}`.trim());
    const seconds = (t) => Math.round(t / 1000);
    const aria = {
      valuemin: seconds(list[0].t),
      valuemax: seconds(list.at(-1).t),
      valuenow: seconds(cursor.t),
      valuetext: `${clock(cursor.t)}: ${values.join(', ')}`,
    };
    for (const [name, value] of Object.entries(aria)) this.#plot.setAttribute(`aria-${name}`, value);
  }

  #shown() {
    return this.#samples.filter(({ t }) => t >= this.#from);
  }

  get #span() {
    const known = this.#samples.length ? this.#now - this.#samples[0].t : 0;
    return SPANS.find(([span]) => known <= span) ?? SPANS.at(-1);
  }

  get #from() {
    return this.#now - this.#span[0];
  }

  draw(samples, now) {
    this.#samples = samples;
    this.#now = now;
    if (!this.#plot.hasAttribute('aria-valuenow')) this.#idle();
    this.#redraw();
  }

  #idle() {
    const now = Math.round(this.#now / 1000);
    for (const name of ['valuemin', 'valuemax', 'valuenow']) this.#plot.setAttribute(`aria-${name}`, now);
  }

  #redraw() {
    const { width, height } = this.#size;
    if (width < LEFT + 40 || !this.#now) return;
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const { series, log, least = 1 } = this.#spec;
    const shown = this.#shown();
    const values = shown.flatMap((sample) => series.map(({ key }) => sample[key])).filter(known);
    const scale = log ? logarithmic(values) : linear(values, least);
    const ground = height - BOTTOM;
    this.#x = (t) => LEFT + ((t - this.#from) / this.#span[0]) * (width - LEFT - RIGHT);
    this.#y = (v) => ground - Math.min(1, scale.at(v)) * (ground - TOP);
    this.#axes(scale.ticks, width, ground);
    this.#marks(shown, ground);
    this.#curves(shown, ground);
    const idle = !values.some((v) => v > 0);
    this.#empty.hidden = !idle || this.#spec.empty === undefined;
    put(this.#empty, this.#spec.empty ?? '');
    this.#summarise(shown);
    this.showCursor();
  }

  #axes(ticks, width, ground) {
    const rows = ticks.flatMap((v) => {
      const y = Math.round(this.#y(v)) + 0.5;
      return [
        s('path', { d: `M${LEFT} ${y}H${width - RIGHT}`, class: v === ticks[0] ? 'base' : null }),
        s('text', { x: LEFT - 8, y: y + 3.5, class: 'end' }, (this.#spec.tick ?? axis)(v)),
      ];
    });
    const [span, step] = this.#span;
    const columns = [];
    for (let t = Math.ceil(this.#from / step) * step; t <= this.#now; t += step) {
      const x = this.#x(t);
      if (x < LEFT + 14 || x > width - 24) continue;
      columns.push(
        s('path', { d: `M${x.toFixed(1)} ${ground}v4`, class: 'base' }),
        s('text', { x, y: ground + 15, class: 'middle' }, span < 300_000 ? clock(t) : clockShort(t)),
      );
    }
    this.#grid.replaceChildren(...rows, ...columns);
  }

  #marks(shown, ground) {
    const nodes = [];
    for (const { t, hole, restarted } of shown) {
      const x = this.#x(t);
      if (hole) {
        const from = Math.max(LEFT, this.#x(hole.from));
        nodes.push(
          s('rect', {
            x: from,
            y: TOP,
            width: Math.max(0, x - from),
            height: ground - TOP,
            fill: `url(#${this.#spec.id}-hatch)`,
          }),
        );
        if (x - from > 90) nodes.push(s('text', { x: (x + from) / 2, y: ground - 6, class: 'middle' }, hole.why));
      }
      if (restarted)
        nodes.push(
          s('path', { d: `M${x.toFixed(1)} ${TOP}V${ground}`, class: 'restart' }),
          s('text', { x: x - 4, y: TOP + 9, class: 'end' }, 'restart'),
        );
    }
    this.#holes.replaceChildren(...nodes);
    const away = shown
      .filter(({ up }) => !up)
      .map(({ t }) => `M${this.#x(t - 650).toFixed(1)} ${ground + 1.5}H${this.#x(t + 650).toFixed(1)}`);
    this.#down.setAttribute('d', away.join(''));
  }

  #curves(shown, ground) {
    this.#spec.series.forEach(({ key, stem }, i) => {
      const draw = stem ? stems : line;
      this.#lines[i].setAttribute('d', draw(shown, key, this.#x, this.#y, ground));
    });
    const first = this.#spec.log ? '' : this.#lines[0].getAttribute('d');
    this.#fill.setAttribute('d', area(first, ground));
  }

  #summarise(shown) {
    const { series, title, format } = this.#spec;
    const parts = series.map(({ key, label }) => {
      const values = shown.map((sample) => sample[key]).filter(known);
      const name = label ? `${label}: ` : '';
      if (!values.length) return `${name}no values`;
      return `${name}now ${format(values.at(-1))}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}`;
    });
    put(this.#summary, `${title}, last ${Math.round(this.#span[0] / 60_000)} minutes. ${parts.join('. ')}.`);
  }

  showCursor() {
    const sample = cursor && this.#samples.includes(cursor) ? cursor : null;
    const latest = sample ?? this.#samples.findLast((one) => this.#spec.series.some(({ key }) => known(one[key])));
    put(this.#when, sample ? clock(sample.t) : '');
    this.#spec.series.forEach(({ key }, i) => {
      put(this.#entries[i], this.#spec.format(latest?.[key]));
      const at = sample && known(sample[key]);
      toggleClass(this.#dots[i], ['on'], at ? 'on' : '');
      if (!at) return;
      this.#dots[i].setAttribute('cx', this.#x(sample.t));
      this.#dots[i].setAttribute('cy', this.#y(sample[key]));
    });
    const x = sample ? this.#x(sample.t) : 0;
    this.#when.setAttribute('x', Math.min(Math.max(x, LEFT + 22), this.#size.width - 28));
    this.#when.setAttribute('y', this.#size.height - 5);
    this.#hair.setAttribute('d', sample ? `M${x.toFixed(1)} ${TOP}V${this.#size.height - BOTTOM}` : '');
  }
}
