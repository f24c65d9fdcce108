// The choice between the languages of the page, its words in the chosen one, and what people are called.

import { en } from './words-en.js';
import { ko } from './words-ko.js';

const WORDS = { en, ko };

const KEPT = 'stompbox.language';

/** Tells everybody that the language has changed. */
export const languages = new EventTarget();

let language = choose();

function choose() {
  const wished = [localStorage.getItem(KEPT), ...(navigator.languages ?? [navigator.language])];
  const known = wished.map((tag) => tag?.split('-')[0]).find((tag) => tag in WORDS);
  return known ?? 'en';
}

export function currentLanguage() {
  return language;
}

export function speak(tag) {
  language = tag;
  localStorage.setItem(KEPT, tag);
  languages.dispatchEvent(new Event('change'));
}

/** The words for a key, with what belongs into them. */
export function words(key, values = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Whether there are words for a key. */
export function hasWords(key) {
  return key in WORDS.en;
}

/** Fills in everything below `root` that names its words. */
export function fill(root) {
  for (const element of root.querySelectorAll('[data-words]')) {
    element.textContent = words(element.dataset.words);
  }
  for (const element of root.querySelectorAll('[data-label]')) {
    element.setAttribute('aria-label', words(element.dataset.label));
  }
}

/** Tells everybody that somebody is called otherwise now. */
export const names = new EventTarget();

/** What people with a name of their own are called, and since when that is known, by their address. */
const called = new Map();

/** The server's names for visitors, which are said in the language of the page instead. */
const OF_A_VISITOR = /^(Guest|손님) \w{4}$/;

/**
 * A user has this name. Of several names the newest counts, in whatever order they are learnt: earlier
 * messages carry the names of their time.
 * @param since when the user had it, in milliseconds; now, if nothing is given
 */
export function call(userId, name, since = Date.now()) {
  const known = called.get(userId);
  if (!userId || (!known && OF_A_VISITOR.test(name)) || known?.since > since) return;
  called.set(userId, { name, since });
  if (known?.name !== name) names.dispatchEvent(new Event('change'));
}

/** What somebody is called: by his own name, or as the server calls visitors, by his address. */
export function nameOf(userId) {
  if (!userId) return words('new_visitor');
  const own = called.get(userId)?.name;
  return own && !OF_A_VISITOR.test(own) ? own : words('guest', { id: userId.slice(-4) });
}
