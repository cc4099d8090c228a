// Waiting for conditions.

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition()` is truthy and returns what it gave; `what` names it in the error. */
export async function until(condition, what, timeout = 15000) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) {
      throw new Error(`waited ${timeout} ms in vain for ${typeof what === 'function' ? what() : what}`);
    }
    await pause(5);
  }
}
