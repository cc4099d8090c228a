// The judge of all the others is judged first: it must notice what a broker could do wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numbered, problems } from './lib/numbers.mjs';

const GAP = { type: 'tickerd:gap', via: 'listener', data: '{}' };

function events(...numbers) {
  return numbers.map((n) => {
    if (n === 'gap') return GAP;
    const { data, type } = numbered(n);
    return { data, type, via: type === 'message' ? 'onmessage' : 'listener' };
  });
}

const complaints = (list, last) => problems(list, last).length;

test('numbers: all of them, in order', () => assert.equal(complaints(events(0, 1, 2, 3, 4, 5), 5), 0));
test('numbers: one missing', () => assert.equal(complaints(events(0, 1, 3), 3), 1));
test('numbers: some missing in a gap', () => assert.equal(complaints(events(0, 'gap', 3, 4), 4), 0));
test('numbers: a gap excuses one hole only', () => assert.equal(complaints(events(0, 'gap', 2, 5), 5), 1));
test('numbers: one twice', () => assert.equal(complaints(events(0, 1, 1, 2), 2), 1));
test('numbers: one twice behind a gap', () => assert.equal(complaints(events(0, 1, 'gap', 1, 2), 2), 1));
test('numbers: one late', () => assert.equal(complaints(events(0, 2, 1), 2), 2));
test('numbers: the end missing', () => assert.equal(complaints(events(0, 1), 2), 1));
test('numbers: a torn message', () => {
  const list = events(0, 1, 2);
  list[1].data = list[1].data.slice(0, -1);
  assert.ok(complaints(list, 2) > 0);
});
test('numbers: a named event that went to onmessage', () => {
  const list = events(0, 1, 2, 3);
  list[3].via = 'onmessage';
  assert.ok(complaints(list, 3) > 0);
});
