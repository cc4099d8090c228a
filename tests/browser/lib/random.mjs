// Random numbers that can be had again: SEED=n in the environment.

export const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

let state = seed;

/** A whole number from low to high, both included. */
export function between(low, high) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return low + Math.floor((state / 2 ** 32) * (high - low + 1));
}
