// Refusals of the server in the words of the page.

import { duration, moment } from './dom.js';
import { hasWords, words } from './words.js';

/**
 * The words for a problem: those of this place if there are any, else those that hold everywhere;
 * with its field or its end if there are words for that, else those for its code.
 * @param place such as `form`; the first that has words counts
 */
export function inWords(problem, ...places) {
  const { code, detail, field, until, retry_after_ms: wait } = problem;
  const endings = [field && `${code}_${field}`, until && `${code}_until`, code].filter(Boolean);
  const keys = [...places, 'error'].flatMap((place) => endings.map((ending) => `${place}_${ending}`));
  const key = keys.find(hasWords) ?? 'error_other';
  return words(key, {
    detail,
    until: until && moment(until),
    when: wait ? words('in_time', { time: duration(wait) }) : words('in_a_moment'),
  });
}
