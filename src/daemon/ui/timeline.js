// Ten minutes of samples, made from the differences between one /status and the next.

import { known } from './kit.js';

const KEEP_MS = 600_000;
const HOLE_MS = 3500;
const RECENT = 10; // samples that the latency in the key figures is taken from

const sum = (object) => Object.values(object ?? {}).reduce((total, n) => total + n, 0);

/** The q-quantile of a histogram (counts not cumulative), linear within a bucket; null if it is empty. */
export function quantile(bounds, counts, q) {
  const total = counts.reduce((all, n) => all + n, 0);
  let rest = total * q;
  for (let i = 0; total > 0 && i < counts.length; i++) {
    if (counts[i] > 0 && rest <= counts[i]) {
      const low = i ? bounds[i - 1] : 0;
      const high = bounds[Math.min(i, bounds.length - 1)];
      return low + (Math.max(high, low) - low) * (rest / counts[i]);
    }
    rest -= counts[i];
  }
  return null;
}

function differences(now, then) {
  if (!now || now.length !== then?.length) return null;
  const list = now.map((n, i) => n - then[i]);
  return list.some((n) => n < 0) ? null : list;
}

export class Timeline {
  samples = [];
  status = null;
  #bounds = [];

  get last() {
    return this.samples.at(-1);
  }

  /** Takes in an answer that arrived at `t`; `why` says why there was none for a while before. */
  add(status, t, why) {
    const before = this.status;
    const restarted = before !== null && (before.started !== status.started || before.pid !== status.pid);
    const hole = this.last && t - this.last.t > HOLE_MS ? { from: this.last.t, why } : null;
    const sample = { t, hole, restarted, up: status.redis?.state === 'up', ...this.#levels(status) };
    if (before && !restarted && !hole) Object.assign(sample, this.#rates(status, before));
    this.status = status;
    this.#bounds = status.latency?.bounds ?? [];
    this.samples.push(sample);
    while (this.samples[0].t < t - KEEP_MS) this.samples.shift();
    return sample;
  }

  #levels({ clients, lagging, memory }) {
    return { clients, lagging, rss: memory?.rss };
  }

  #rates(now, then) {
    const seconds = (Date.parse(now.now) - Date.parse(then.now)) / 1000;
    if (!(seconds > 0)) return {};
    const rate = (key) => Math.max(0, (now.totals?.[key] - then.totals?.[key]) / seconds);
    const counts = differences(now.latency?.counts, then.latency?.counts);
    return {
      messages: rate('messages'),
      deliveries: rate('deliveries'),
      bytes: rate('bytes'),
      gaps: Math.max(0, sum(now.gaps) - sum(then.gaps)),
      workers: now.workers?.map((w, i) => Math.max(0, (w.deliveries - then.workers?.[i]?.deliveries) / seconds)),
      counts,
      p50: counts && quantile(now.latency.bounds, counts, 0.5),
      p99: counts && quantile(now.latency.bounds, counts, 0.99),
    };
  }

  /** The newest value of a key, from before a hole if there is none behind it yet. */
  now(key) {
    return this.samples.findLast((sample) => known(sample[key]))?.[key] ?? null;
  }

  /** A quantile of the latency over the last ten seconds. */
  latency(q) {
    const recent = this.samples
      .slice(-RECENT)
      .map(({ counts }) => counts)
      .filter(Boolean);
    if (!recent.length) return null;
    return quantile(
      this.#bounds,
      recent[0].map((_, i) => recent.reduce((all, counts) => all + counts[i], 0)),
      q,
    );
  }

  /** How many gaps within the last minute. */
  get gapsPerMinute() {
    const from = (this.last?.t ?? 0) - 60_000;
    return this.samples.reduce((all, { t, gaps }) => all + (t > from ? (gaps ?? 0) : 0), 0);
  }
}
