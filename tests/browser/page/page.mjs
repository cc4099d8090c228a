// The page under the test's command: it fetches commands (open or close a stream) from the test's
// server and posts back, in order, what the streams saw.

import { fetchEventSource } from '@microsoft/fetch-event-source';
import { recordEventSource, recordFetchEventSource, recordImage } from '/test/recorder.mjs';

const streams = new Map();
const queue = [];
let batch = 0;
let posting = false;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// One request at a time keeps the order; the server ignores a batch that it has seen.
async function post() {
  if (posting) return;
  posting = true;
  while (queue.length > 0) {
    const records = queue.splice(0);
    const body = JSON.stringify({ batch: ++batch, records });
    while (!(await fetch('/test/reports', { method: 'POST', body }).catch(() => null))?.ok) await pause(50);
  }
  posting = false;
}

function recordInFrame(url, options, report) {
  const frame = document.createElement('iframe');
  frame.src = new URL('/test/frame.html', url).href;
  addEventListener('message', ({ source, data }) => {
    if (source !== frame.contentWindow) return;
    if (data.ready) source.postMessage({ url, options }, '*');
    else report(data.record);
  });
  document.body.append(frame);
  return () => frame.remove();
}

const openers = {
  EventSource: (url, options, report) => recordEventSource(EventSource, url, options, report),
  'EventSource in a frame': recordInFrame,
  'fetch-event-source': (url, options, report) => recordFetchEventSource(fetchEventSource, url, options, report),
  image: (url, options, report) => recordImage(url, report),
};

function run({ op, stream, how, url, options }) {
  if (op === 'nothing') return;
  if (op === 'close') {
    streams.get(stream)?.();
    streams.delete(stream);
    return;
  }
  const report = (record) => {
    queue.push({ stream, record });
    post();
  };
  streams.set(stream, openers[how](url, options, report));
}

let done = 0;
for (;;) {
  try {
    const answer = await fetch(`/test/commands?after=${done}`);
    for (const command of await answer.json()) {
      run(command);
      done++;
    }
  } catch {
    await pause(50);
  }
}
