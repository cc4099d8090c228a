// The four clients, each behind the same few words:
//
//   name
//   open(url, options) a Stream; options: {credentials, crossOrigin}
//   web                the web server its page is from, null outside browsers
//   sees(data)         what it makes of an event's data (data itself, for all that keep to the standard)
//   takesIdEarly       it takes over an id before the event it belongs to is dispatched
//   sameOrigin         its streams are of its page's origin, unless crossOrigin is asked for
//   close()
//
// Measured: a stream of another origin is given up for good by Firefox when no answer comes (refused,
// reset, closed before the head has arrived), while one of the same origin is tried again; so Firefox
// plays on its streams' origin, and the others play across origins. Browsers give up as well when the
// head of an answer ends early with a FIN, but not with a RST.

import { chromium } from 'playwright-core';
import { EventSource } from 'eventsource';
import { launchFirefox } from './firefox.mjs';
import { recordEventSource } from './recorder.mjs';
import { Stream } from './stream.mjs';
import { Web } from './web.mjs';

export const CHROMIUM = {
  executablePath: '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
};
const NAMES = ['tickerd:open', 'tickerd:gap', 'score'];
const asIs = (data) => data;
const STANDARD = { sees: asIs, takesIdEarly: false, sameOrigin: false, web: null };

function pageClient(name, how, web, quit, quirks = {}) {
  return {
    ...STANDARD,
    name,
    web,
    open: (url, options) => web.open(how(options), url, { ...options, names: NAMES }),
    async close() {
      await quit();
      await web.close();
    },
    ...quirks,
  };
}

async function openChromium(web, cookies = []) {
  const browser = await chromium.launch(CHROMIUM);
  const page = await browser.newPage();
  await page.context().addCookies(cookies);
  page.on('pageerror', (error) => console.error(`page: ${error}`));
  await page.goto(web.origin);
  await web.pageReady();
  return () => browser.close();
}

const inFrame = ({ crossOrigin }) => (crossOrigin ? 'EventSource' : 'EventSource in a frame');

/** Chromium's own EventSource; with a cookie ({name, value}) it plays on its streams' origin. */
export async function chromiumClient({ cookie } = {}) {
  const web = await Web.launch();
  if (!cookie) return pageClient('Chromium', () => 'EventSource', web, await openChromium(web));
  const quit = await openChromium(web, [{ ...cookie, url: web.origin }]); // cookies know no ports
  return pageClient('Chromium', inFrame, web, quit, { sameOrigin: true });
}

/** Firefox's own EventSource, which leaves out U+0000. */
export async function firefoxClient() {
  const web = await Web.launch();
  const quit = launchFirefox(web.origin);
  await web.pageReady();
  const sees = (data) => data.replaceAll('\0', '');
  return pageClient('Firefox', inFrame, web, quit, { sees, sameOrigin: true });
}

/** npm's `eventsource`, in node. */
export async function npmEventSourceClient() {
  return {
    ...STANDARD,
    name: 'npm eventsource',
    open(url, { credentials }) {
      const stream = new Stream(() => close());
      const close = recordEventSource(EventSource, url, { names: NAMES, credentials }, stream.report);
      return stream;
    },
    async close() {},
  };
}

/**
 * npm's `@microsoft/fetch-event-source`, in Chromium. It drops empty lines at the start of an event and
 * a U+FEFF at the start of a line; and it takes over an id when it has read the id's line, so that it
 * loses the event if the connection is lost between that line and the blank one behind it (seen also
 * when Chromium handed over the bytes in two parts there, and a RST then took the second part).
 */
export async function fetchEventSourceClient() {
  const web = await Web.launch();
  const sees = (data) => data.replace(/(^|\n)\uFEFF/g, '$1').replace(/^\n+/, '');
  const quirks = { sees, takesIdEarly: true };
  const how = () => 'fetch-event-source';
  return pageClient('fetch-event-source', how, web, await openChromium(web), quirks);
}
