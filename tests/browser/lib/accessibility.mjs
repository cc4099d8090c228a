// What can be measured of a page for those who cannot see it well, or at all.

const CONTROLS = new Set([
  'button',
  'link',
  'textbox',
  'searchbox',
  'combobox',
  'slider',
  'radio',
  'checkbox',
  'listbox',
]);
const NAMED = new Set([...CONTROLS, 'region', 'table', 'navigation', 'form', 'search', 'log', 'dialog']);

/** The nodes of Chromium's accessibility tree: {role, name, focusable}. */
export async function tree(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  await session.detach();
  return nodes
    .filter(({ ignored }) => !ignored)
    .map(({ role, name, properties = [] }) => ({
      role: role?.value,
      name: name?.value ?? '',
      focusable: properties.some((p) => p.name === 'focusable' && p.value.value),
    }));
}

/** Those that a screen reader could not call by a name. */
export function nameless(nodes) {
  return nodes.filter(
    ({ role, name, focusable }) =>
      (NAMED.has(role) || focusable) && role !== 'RootWebArea' && role !== 'main' && !name.trim(),
  );
}

export const isControl = ({ role }) => CONTROLS.has(role);

/** Texts whose contrast is below WCAG's AA: ["2.31 #id.class: the text", …]. */
export function lowContrast(page) {
  return page.evaluate(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
    const ground = (element) => {
      const layers = [];
      for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
      return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
    };
    const light = (colour) => {
      const [r, g, b] = colour.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || !element.checkVisibility() || element.closest('.sr, :disabled, noscript')) continue;
      const style = getComputedStyle(element);
      const under = ground(element);
      const text = rgba(element.closest('svg') ? style.fill : style.color);
      const [a, b] = [light(over(text, under)), light(under)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      const large =
        parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
      if (ratio < (large ? 3 : 4.5))
        found.add(
          `${ratio.toFixed(2)} ${element.tagName}#${element.id}.${element.className}: ${node.data.trim().slice(0, 30)}`,
        );
    }
    return [...found];
  });
}

/** Elements that reach beyond the window's right edge without a scroller of their own. */
export function overflowing(page) {
  return page.evaluate(() => {
    const room = document.documentElement.clientWidth;
    const wide = [...document.body.querySelectorAll('*')].filter(
      (e) => !e.closest('.scroll, .sr, .skip, svg') && e.getBoundingClientRect().right > room + 0.5,
    );
    const names = wide.map((e) => `${e.tagName}#${e.id}.${e.getAttribute('class')}`);
    return document.documentElement.scrollWidth > room
      ? [`the page is ${document.documentElement.scrollWidth} wide`, ...names]
      : names;
  });
}
