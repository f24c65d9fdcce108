// Small things for building what is seen: elements, the clipboard, time in words.

import { currentLanguage, words } from './words.js';

/** An element with these properties (`class`, attributes, `on…` handlers) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button that does something. */
export function button(label, onclick, properties = {}) {
  return el('button', { type: 'button', onclick, ...properties }, label);
}

/** Copies what stands in an input. */
export async function copyFrom(input) {
  try {
    await navigator.clipboard.writeText(input.value);
  } catch {
    // The clipboard is only there on https and localhost; the selection is everywhere.
    input.select();
    document.execCommand('copy');
  }
}

/** A moment, in the language of the page. */
export function moment(time) {
  return new Date(time).toLocaleString(currentLanguage(), { dateStyle: 'medium', timeStyle: 'short' });
}

/** How long something takes, in words. */
export function duration(millis) {
  const seconds = Math.max(1, Math.ceil(millis / 1_000));
  return seconds <= 90
    ? words('seconds', { n: seconds })
    : words('minutes', { n: Math.ceil(seconds / 60) });
}
