// What a client saw, as a list of plain records. Runs in browsers and in node alike, so it imports nothing.
//
//   {kind: 'open'}                             the client says that it is connected
//   {kind: 'error', closed}                    the client reports an error; closed: it gave up for good
//   {kind: 'event', via, type, data, id}       an event; via: 'onmessage' or 'listener'

/** Records what an EventSource sees (the native one, or a class that claims to be like it). */
export function recordEventSource(EventSource, url, { names, credentials }, report) {
  const source = new EventSource(url, { withCredentials: credentials });
  const note = (via) => (event) =>
    report({ kind: 'event', via, type: event.type, data: event.data, id: event.lastEventId });
  source.onopen = () => report({ kind: 'open' });
  source.onerror = () => report({ kind: 'error', closed: source.readyState === 2 });
  source.onmessage = note('onmessage');
  for (const name of names) source.addEventListener(name, note('listener'));
  return () => source.close();
}

/**
 * Records what @microsoft/fetch-event-source sees. Its one callback gets every event, so `via` is told
 * by the name; it stops when the server ends a stream, unless onclose throws, as its manual says.
 */
export function recordFetchEventSource(fetchEventSource, url, { credentials, headers }, report) {
  const control = new AbortController();
  const ended = fetchEventSource(url, {
    signal: control.signal,
    headers,
    credentials: credentials ? 'include' : 'omit',
    openWhenHidden: true,
    async onopen(response) {
      if (response.status !== 200) throw new Error(`status ${response.status}`);
      report({ kind: 'open' });
    },
    onmessage({ event, data, id }) {
      report({ kind: 'event', via: event ? 'listener' : 'onmessage', type: event || 'message', data, id });
    },
    onclose() {
      throw new Error('the stream ended');
    },
    onerror() {
      report({ kind: 'error', closed: false });
    },
  });
  ended.catch(() => report({ kind: 'error', closed: true }));
  return () => control.abort();
}

/** Asks for a stream as an image: without CORS, so that nothing of the answer can be read. */
export function recordImage(url, report) {
  const image = new Image();
  image.onerror = () => report({ kind: 'error', closed: true });
  image.src = url;
  return () => image.removeAttribute('src');
}
