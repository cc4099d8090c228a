// The dashboard of the admin listener, in Chromium: what it shows of a real tickerd, and for whom.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { isControl, lowContrast, nameless, overflowing, tree } from './lib/accessibility.mjs';
import { removeFolder, temporaryFolder } from './lib/children.mjs';
import { Dashboard } from './lib/dashboard.mjs';
import { Ticker } from './lib/numbers.mjs';
import { Issuer } from './lib/tokens.mjs';
import { until } from './lib/wait.mjs';

const ID = /^[0-9a-f]{13}-[0-9a-f]{8}-[0-9a-f]{8}$/;
const EVIL = '<img src=x onerror=document.evil=1>';
const QUICK = { 'redis.ping_interval': '300ms', 'redis.ping_timeout': '500ms' };
const WITH_CONFIG = { 'resume.window': '10s' };

/** Plays a scene, and insists that the page had nothing to complain of and asked nobody else. */
function scene(name, play, settings = {}, options = {}) {
  it(name, { timeout: 90000 }, async () => {
    const dashboard = await Dashboard.create(settings, options);
    try {
      await play(dashboard);
      assert.deepEqual(dashboard.complaints, []);
    } catch (error) {
      console.error(`--- tickerd's log\n${dashboard.daemon.log.slice(-3000)}`);
      throw error;
    } finally {
      await dashboard.close();
    }
  });
}

const number = async (dashboard, selector) => Number((await dashboard.text(selector)).replaceAll(',', ''));
const row = (name) => `#channels-rows tr:has(button:text-is("${name}"))`;
const rowNames = (dashboard) =>
  dashboard.page.locator('#channels-rows button').evaluateAll((all) => all.map((b) => b.firstChild.data));

async function figuresMove(dashboard) {
  for (let n = 0; n < 3; n++) await dashboard.listening('/events/news');
  const page = await dashboard.open();
  await dashboard.shows('#figure-clients .number', /^3$/);
  await dashboard.shows('#lead', /All is well: 3 clients and 1 channel\b/);
  const before = await page
    .locator('#chart-deliveries .line')
    .getAttribute('d')
    .catch(() => '');
  const ticker = new Ticker(dashboard.redis, ['sse:news'], 10);
  try {
    await until(async () => (await number(dashboard, '#figure-messages .number')) > 5, 'messages');
    await until(async () => (await number(dashboard, '#figure-deliveries .number')) > 15, 'deliveries');
    await dashboard.shows('#figure-p99 .number', /^\d/);
    await dashboard.shows('#figure-rss .unit', /MiB/);
    await until(
      async () => (await page.locator('#chart-deliveries .line').getAttribute('d')) !== before,
      'the chart to move',
    );
    await dashboard.shows('#chart-deliveries .sr', /Deliveries per second, .*highest [1-9]/);
    await dashboard.shows(`${row('news')} [data-cell=streams]`, /^3$/);
    await dashboard.shows(`${row('news')} [data-cell=rate]`, /^[1-9]/);
    await until(async () => (await page.locator('#clients-rows tr').count()) === 3, 'three clients');
  } finally {
    await ticker.stop();
  }
  await until(async () => (await number(dashboard, '#figure-messages .number')) === 0, 'the rate to sink');
}

async function tailSurvives(dashboard) {
  const listener = await dashboard.listening('/events/news');
  await dashboard.open();
  await dashboard.tail('news');
  await dashboard.publish('news', 'one');
  const { id } = await dashboard.line(({ data }) => data === 'one', 'what was published');
  assert.match(id, ID);
  assert.equal(id, await listener.idOf('one'), 'the id that clients see');

  await dashboard.daemon.stop('SIGTERM');
  await dashboard.shows('#state', /no answer/);
  assert.ok(await dashboard.page.isVisible('#lost'));
  await dashboard.daemon.start();
  await dashboard.shows('#state', /running/);
  assert.ok(await dashboard.page.isHidden('#lost'));
  await dashboard.line(({ data }) => /^Connected again/.test(data), 'that it is connected again');
  await dashboard.line(
    ({ kind, data }) => /gap/.test(kind) && /tickerd restarted/.test(data),
    'the gap of the restart',
  );
  await dashboard.publish('news', 'two');
  await dashboard.line(({ data }) => data === 'two', 'what was published after that');
  await until(() => dashboard.page.locator('.holes .restart').count(), 'the restart in the charts');
}

async function tailOfPattern(dashboard) {
  await dashboard.publish('news.a', 'early');
  const page = await dashboard.open();
  await dashboard.tail('news.*', 'pattern');
  await dashboard.publish('news.b', JSON.stringify({ event: 'score', data: { home: 1 } }));
  const line = await dashboard.line(({ name }) => name === 'score', 'a named event');
  assert.equal(line.channel, 'news.b');
  assert.equal(line.data, '{"home":1}');
  assert.equal((await dashboard.line(({ data }) => data === 'early', 'history')).channel, 'news.a');

  await page.fill('#tail-filter', 'HOME');
  await until(async () => (await dashboard.lines()).some(({ hidden }) => hidden), 'the filter');
  assert.deepEqual(
    (await dashboard.lines()).filter(({ hidden }) => !hidden).map(({ name }) => name),
    ['score'],
  );
  await page.fill('#tail-filter', '');
  await page.click('#tail-pause');
  for (let n = 0; n < 3; n++) await dashboard.publish('news.b', `later ${n}`);
  await dashboard.shows('#tail-pause', /Continue \(3\)/);
  assert.ok(!(await dashboard.lines()).some(({ data }) => data === 'later 0'));
  await page.click('#tail-pause');
  await dashboard.line(({ data }) => data === 'later 2', 'what had waited');
  await page.click('#tail-clear');
  assert.deepEqual(await dashboard.lines(), []);
}

async function tailIsBounded(dashboard) {
  await dashboard.open();
  await dashboard.tail('news');
  for (let n = 0; n < 700; n++) await dashboard.publish('news', n === 699 ? 'x'.repeat(100000) : `number ${n}`);
  const { data } = await dashboard.line((line) => line.data.startsWith('xxx'), 'the last one');
  assert.ok(data.length < 5000 && data.endsWith('100,000 characters in all'), data.slice(-60));
  assert.ok((await dashboard.lines()).length <= 500);
}

async function refusedTail(dashboard) {
  await dashboard.open();
  await dashboard.page.fill('#tail-name', '$reserved');
  await dashboard.page.click('#tail-form button[type=submit]');
  await dashboard.shows('#tail-state', /refused/);
  await dashboard.shows('#tail-empty', /\w+.*\./);
}

async function publishBox(dashboard) {
  const listener = await dashboard.listening('/events/news');
  const page = await dashboard.open();
  await dashboard.tail('news');
  await page.fill('#publish-channel', 'news');
  await page.fill('#publish-data', 'grüße aus dem Kasten');
  await page.click('#publish-form button');
  await dashboard.shows('#publish-result', /Redis passed it to 1 subscriber/);
  const { id } = await dashboard.line(({ data }) => data === 'grüße aus dem Kasten', 'the message');
  assert.equal(await listener.idOf('grüße aus dem Kasten'), id);
  await page.fill('#publish-event', 'score');
  await page.fill('#publish-data', '1:0');
  await page.click('#publish-form button');
  assert.equal((await dashboard.line(({ name }) => name === 'score', 'the named event')).data, '1:0');
}

async function publishingOff(dashboard) {
  const page = await dashboard.open();
  assert.ok(await page.isHidden('#publish-form'));
  await dashboard.shows('#publish-off', /"admin_publish": true/);
}

async function gapAppears(dashboard) {
  await dashboard.listening('/events/news');
  const page = await dashboard.open();
  await dashboard.tail('news');
  await dashboard.redis.kill();
  await dashboard.shows('#lead', /Redis is out of reach since/);
  assert.match(await page.title(), /^⚠/);
  await dashboard.redis.start();
  await dashboard.shows('#lead', /All is well/, 30000);
  await dashboard.line(({ kind, data }) => /gap/.test(kind) && /Redis was out of reach/.test(data), 'the gap');
  await dashboard.shows('#gaps-list li', /Redis was out of reach/);
  await dashboard.shows('#gaps-total', /Redis was out of reach 1/);
  await dashboard.shows('#figure-gaps .number', /^[1-9]/);
  await until(() => page.locator('#chart-gaps .stem').getAttribute('d'), 'the gap in its chart');
}

async function filterAndSort(dashboard) {
  await dashboard.listening('/events?channel=b.two&channel=a.one');
  await dashboard.listening('/events/b.two');
  for (const channel of ['c.three', 'c.three', 'c.three', 'b.two']) await dashboard.publish(channel, 'x');
  const page = await dashboard.open();
  const order = async (expected) => {
    let names = [];
    await until(
      async () => (names = await rowNames(dashboard)).join() === expected,
      () => `the order ${expected}, not ${names}`,
    );
  };
  for (const [column, expected] of [
    ['Channel', 'a.one,b.two,c.three'],
    ['Streams', 'b.two,a.one,c.three'],
    ['Messages', 'c.three,b.two,a.one'],
  ]) {
    await page.click(`#channels-head button:text-is("${column}")`);
    await order(expected);
    assert.match(await page.locator(`#channels-head th:has-text("${column}")`).getAttribute('aria-sort'), /ending$/);
  }
  assert.equal(await page.locator('#channels-head [aria-sort]').count(), 1);
  await page.fill('#channels-match', '[ab].*');
  await order('b.two,a.one');
  await page.fill('#channels-match', 'three');
  await order('c.three');
  await page.fill('#channels-match', 'nothing');
  await dashboard.shows('#channels-empty', /No channel matches/);
}

async function byKeyboard(dashboard) {
  await dashboard.publish('news', 'by key');
  const page = await dashboard.open();
  await until(async () => (await rowNames(dashboard)).length === 1, 'the channel');
  const focused = () =>
    page.evaluate(() => ({
      text: document.activeElement.textContent,
      id: document.activeElement.id,
      outline: getComputedStyle(document.activeElement).outlineStyle,
    }));
  await page.keyboard.press('Tab');
  assert.match((await focused()).text, /^Skip/);
  await page.keyboard.press('Enter');
  assert.equal((await focused()).id, 'main');
  const seen = [];
  for (let n = 0; n < 40 && !seen.at(-1)?.text.startsWith('news'); n++) {
    await page.keyboard.press('Tab');
    seen.push(await focused());
  }
  assert.ok(seen.at(-1).text.startsWith('news'), JSON.stringify(seen));
  assert.deepEqual(
    seen.filter(({ outline }) => outline === 'none'),
    [],
    'each is seen to have the focus',
  );
  await page.keyboard.press('Enter');
  await dashboard.line(({ data }) => data === 'by key', 'its history');
  assert.equal((await focused()).id, 'tail');

  await page.focus('#chart-clients .plot');
  await until(
    async () => (await page.locator('#chart-clients .line').getAttribute('d'))?.split('L').length > 3,
    'some samples',
  );
  await page.keyboard.press('Home');
  const first = await page.getAttribute('#chart-clients .plot', 'aria-valuetext');
  // One step may stay within the second where the page had to wait for an answer.
  for (let n = 0; n < 3; n++) await page.keyboard.press('ArrowRight');
  const second = await page.getAttribute('#chart-clients .plot', 'aria-valuetext');
  assert.match(first, /^\d\d:\d\d:\d\d: 0$/);
  assert.notEqual(second, first);
}

async function rowsKeepStill(dashboard) {
  for (const channel of ['a', 'b']) await dashboard.publish(channel, 'x');
  const page = await dashboard.open();
  await page.click('#channels-head button:text-is("Messages")');
  await until(async () => (await rowNames(dashboard)).length === 2, 'two channels');
  const [, second] = await rowNames(dashboard);
  await page.locator('#channels-rows button').nth(1).focus();
  for (let n = 0; n < 5; n++) await dashboard.publish(second, 'more');
  await dashboard.shows(`${row(second)} [data-cell=messages]`, /^6$/);
  assert.equal((await rowNames(dashboard))[1], second, 'not moved while it has the focus');
  await page.focus('#channels-match');
  await until(async () => (await rowNames(dashboard))[0] === second, 'the new order');
}

async function nothingIsMarkup(dashboard, issuer) {
  const headers = { Authorization: `Bearer ${issuer.token(['*'], 300, EVIL)}` };
  await dashboard.listening(
    `/events?channel=${encodeURIComponent(EVIL)}&pattern=${encodeURIComponent(`${EVIL}*`)}`,
    headers,
  );
  const page = await dashboard.open();
  await dashboard.tail(EVIL);
  await dashboard.publish(EVIL, EVIL);
  await dashboard.publish(EVIL, JSON.stringify({ event: EVIL, data: `</pre>${EVIL}`, id: EVIL.replaceAll(' ', '/') }));
  await dashboard.line(({ data, name }) => data === `</pre>${EVIL}` && name === EVIL, 'the markup as text');
  await until(async () => (await rowNames(dashboard)).includes(EVIL), 'the channel');
  await dashboard.shows('#patterns-rows', /<img/);
  await dashboard.shows('#clients-rows tr td', /^<img src=x onerror=document.evil=1>$/);
  await page.click('#clients-rows button');
  await dashboard.shows('#ask-choices', /All of subject <img/);
  await page.keyboard.press('Escape');
  await page.fill('#publish-channel', EVIL);
  await page.click('#publish-form button');
  await dashboard.shows('#publish-result', /./);
  assert.equal(await page.locator('img, iframe, object, [onerror], [style*=url]').count(), 0);
  assert.equal(await page.evaluate(() => document.evil), undefined);
}

async function disconnecting(dashboard, issuer) {
  const as = (sub) => ({ Authorization: `Bearer ${issuer.token(['*'], 300, sub)}` });
  const [one, two, other] = [
    await dashboard.listening('/events/news', as('7')),
    await dashboard.listening('/events/sport', as('7')),
    await dashboard.listening('/events/news', as('8')),
  ];
  const page = await dashboard.open();
  await page.fill('#clients-form [name=sub]', '7');
  await until(async () => (await page.locator('#clients-rows tr').count()) === 2, 'the two streams of 7');
  await page.locator('#clients-rows button').first().click();
  await page.click('#ask button:text-is("Keep them")');
  assert.ok(!one.closed && !two.closed);
  await page.locator('#clients-rows button').first().click();
  await page.click('#ask button:text-is("Close the streams")');
  await dashboard.shows('#clients-result', /2 streams closed/);
  await until(() => one.closed && two.closed, 'the streams of 7 to end');
  assert.ok(!other.closed);
  await dashboard.shows('#closed-rows', /Right taken away, or disconnected\D*2/);
}

async function reloading(dashboard, file) {
  const page = await dashboard.open();
  writeFileSync(file, JSON.stringify({ 'history.events': 7, history: { events: 7 } }));
  await page.click('#reload');
  await dashboard.shows('#reload-result', /Refused/);
  await dashboard.shows('#reload-last .errors', /history\.events/);
  await dashboard.shows('#lead', /The last reload was refused/);
  writeFileSync(file, JSON.stringify({ history: { events: 7 }, log: { level: 'debug' } }));
  await page.click('#reload');
  await dashboard.shows('#reload-result', /Done: 2 settings changed/);
  await dashboard.shows('#reload-last', /Changed: .*history\.events/);
  await dashboard.shows('#lead', /All is well/);
}

async function pausesWhenHidden(dashboard) {
  const page = await dashboard.open({ clock: true });
  let asked = 0;
  page.on('request', (request) => (asked += request.url().endsWith('/status') ? 1 : 0));
  const hide = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  await until(() => asked > 1, 'it to ask for the status');
  await hide(true);
  const before = asked;
  for (let n = 0; n < 20; n++) await page.clock.runFor(1000);
  assert.ok(asked <= before + 1, `asked ${asked - before} times in the dark`);
  await hide(false);
  await until(() => page.locator('.holes rect').count(), 'the hole in the charts');
  await until(() => asked > before + 2, 'it to go on');
}

async function fitsPhones(dashboard) {
  await dashboard.listening(`/events?channel=${'long-name-'.repeat(20)}&channel=news`);
  // It cannot be disconnected, which its row says to screen readers, far to the right.
  await dashboard.listening('/events?pattern=user.*');
  await dashboard.publish('long-name-'.repeat(20), 'y'.repeat(3000));
  const page = await dashboard.open({ width: 360, height: 740 });
  await dashboard.tail('long-name-'.repeat(20));
  await dashboard.line(({ data }) => data.startsWith('yyy'), 'a long line');
  await until(async () => (await page.locator('#clients-rows tr').count()) === 2, 'the clients');
  assert.deepEqual(await overflowing(page), []);
}

async function forEverybody(dashboard) {
  await dashboard.listening('/events?channel=news&pattern=n*');
  await dashboard.publish('news', JSON.stringify({ event: 'score', data: '1:0' }));
  for (const colorScheme of ['light', 'dark']) {
    const page = await dashboard.open({ colorScheme });
    await dashboard.tail('news');
    await dashboard.line(({ name }) => name === 'score', 'an event');
    await until(async () => (await page.locator('#clients-rows tr').count()) === 1, 'the client');
    const nodes = await tree(page);
    assert.deepEqual(nameless(nodes), []);
    assert.ok(nodes.filter(isControl).length > 30, 'controls were found');
    const roles = new Set(nodes.map(({ role }) => role));
    for (const role of [
      'banner',
      'navigation',
      'main',
      'contentinfo',
      'table',
      'columnheader',
      'rowheader',
      'log',
      'slider',
      'status',
    ])
      assert.ok(roles.has(role), `a ${role}`);
    assert.deepEqual(await lowContrast(page), [], colorScheme);
    await page.locator('#clients-rows button').click();
    assert.deepEqual(nameless(await tree(page)), []);
    assert.deepEqual(await lowContrast(page), [], `${colorScheme}, with the question`);
    await page.context().close();
  }
}

function withTokens(play) {
  return async (dashboard) => play(dashboard, issuer);
}

const issuer = new Issuer();
const TOKENS = { ...issuer.settings, 'auth.mode': 'optional', channels: '[{"match":"*","anonymous":true}]' };
const folder = temporaryFolder('dashboard');
const config = path.join(folder, 'tickerd.json');
writeFileSync(config, JSON.stringify({ history: { events: 100 } }));

describe('The dashboard, in Chromium', () => {
  scene('shows figures that move with the traffic', figuresMove);
  scene('has a live tail that survives a restart', tailSurvives);
  scene('tails patterns, and can pause, filter and clear', tailOfPattern);
  scene('holds five hundred lines at most, and cuts long data', tailIsBounded);
  scene('says why a tail is refused', refusedTail);
  scene('publishes test messages', publishBox);
  scene('says how publishing is turned on', publishingOff, { admin_publish: false });
  scene('shows gaps when they happen', gapAppears, QUICK);
  scene('filters and sorts channels', filterAndSort);
  scene('is used by keyboard', byKeyboard);
  scene('keeps rows still while they are in use', rowsKeepStill);
  scene('takes names and data for text', withTokens(nothingIsMarkup), TOKENS);
  scene('disconnects, but asks first', withTokens(disconnecting), TOKENS);
  scene('reloads, and shows what is wrong', (dashboard) => reloading(dashboard, config), WITH_CONFIG, { config });
  scene('pauses in a hidden tab, and marks the hole', pausesWhenHidden);
  scene('fits a phone', fitsPhones);
  scene('has names and contrast for everybody', forEverybody);
});
process.on('exit', () => {
  issuer.close();
  removeFolder(folder);
});
