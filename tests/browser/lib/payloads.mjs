// What is published, and what must arrive: event.data, event.type, event.lastEventId.

const raw = (wire, data = wire) => ({ wire, data });
const envelope = (fields, expected) => ({ wire: JSON.stringify(fields), ...expected });

export const PAYLOADS = [
  raw('hello'),
  raw('two\nlines'),
  raw('CRLF\r\nCR\rLF\nend', 'CRLF\nCR\nLF\nend'),
  raw(' one leading space'),
  raw('   three, then\n    four'),
  raw('\ta tab'),
  raw(': not a comment'),
  raw('data: x\nid: 1\nevent: y\nretry: 1'),
  raw(''),
  raw('a trailing newline\n'),
  raw('\n\nempty lines first'),
  raw('\n'),
  raw('Žluťoučký kůň, 日本語, 🐎, e\u0301, \u2028'),
  raw('\uFEFFa byte order mark'),
  raw('a NUL\u0000 inside'),
  raw(Buffer.from([0x61, 0xff, 0x62]), 'a\uFFFDb'),
  raw('{"no":"envelope"}'),
  raw('x'.repeat(100_000)),
  envelope({ data: 'goal', event: 'score' }, { data: 'goal', type: 'score' }),
  envelope({ event: 'score', data: 'two\nlines' }, { data: 'two\nlines', type: 'score' }),
  envelope({ data: '', event: 'score' }, { data: '', type: 'score' }),
  raw('{"data": {"a": 0.10, "b": [1, 2]}}', '{"a":0.10,"b":[1,2]}'),
  raw('{"data": null}', 'null'),
  envelope({ data: 'with an id', id: 'order-17' }, { data: 'with an id', id: /^order-17$/ }),
  raw('{"data":"not for users","event":"tickerd:open"}'),
  raw('the last one'),
].map((payload) => ({ type: 'message', ...payload }));
