// A frame that the test's proxy serves from the origin of the stream, so that it is no cross-origin
// request: opens the stream that its parent names and hands every record to the parent.

import { recordEventSource } from '/test/recorder.mjs';

addEventListener('message', ({ data }) => {
  recordEventSource(EventSource, data.url, data.options, (record) => parent.postMessage({ record }, '*'));
});
parent.postMessage({ ready: true }, '*');
