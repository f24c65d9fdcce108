// The one dialog of the page. Views are put into it; it takes care of the focus, of Esc, and of forms.

import { Problem } from './api.js';
import { button, el } from './dom.js';
import { inWords } from './problems.js';
import { fill, words } from './words.js';

const dialog = document.getElementById('sheet');
const title = dialog.querySelector('h2');
const body = dialog.querySelector('.sheet-body');
const outcome = dialog.querySelector('[role=status]');
const back = dialog.querySelector('.back');

let composing = false;
let closed = () => {};

/**
 * Shows a view.
 * @param view `{title, nodes, pane, from, onclose}`: `from` shows what Back leads to, `onclose` is told
 *   when the dialog is closed with this view in it
 */
export function show(view) {
  closed = view.onclose ?? (() => {});
  dialog.dataset.pane = view.pane ?? '';
  title.textContent = view.title;
  body.replaceChildren(...view.nodes.filter(Boolean));
  tell('');
  back.hidden = !view.from;
  back.onclick = view.from ?? null;
  fill(dialog);
  if (!dialog.open) dialog.showModal();
  // The first thing to fill in; without one the heading, so that it is read.
  (body.querySelector('input:not([readonly])') ?? title).focus();
}

export function close() {
  dialog.close();
}

/** Says how something went, to eyes and to screen readers. */
export function tell(text) {
  outcome.textContent = text;
}

dialog.querySelector('.shut').addEventListener('click', close);
dialog.addEventListener('click', (event) => {
  // The backdrop is the dialog itself; its content is in a box of its own.
  if (event.target === dialog) close();
});
dialog.addEventListener('compositionstart', () => { composing = true; });
dialog.addEventListener('compositionend', () => { composing = false; });
dialog.addEventListener('cancel', (event) => {
  // Esc ends the composition of an input method, not the dialog.
  if (composing) event.preventDefault();
});
dialog.addEventListener('keydown', (event) => {
  // Enter ends the composition and sends nothing (229: old Safari says it so).
  if (event.key === 'Enter' && (event.isComposing || event.keyCode === 229)) event.preventDefault();
});
dialog.addEventListener('close', () => {
  // It may have been opened again meanwhile: the event comes a moment later.
  if (dialog.open) return;
  // Passwords do not stay in the page.
  body.replaceChildren();
  // What had the focus before may be gone: a way back to a connection that is there again.
  const pane = document.getElementById(`pane-${dialog.dataset.pane}`);
  if (document.activeElement === document.body) pane?.querySelector('.account').focus();
  closed();
});

/**
 * A labelled input. `check` gives the key of what is wrong with its value, or nothing.
 */
export function field({ name, label, check, after, ...properties }) {
  const id = `sheet-${name}`;
  const input = el('input', { id, name, 'aria-describedby': `${id}-wrong`, ...properties });
  const wrong = el('p', { id: `${id}-wrong`, class: 'wrong', hidden: true });
  const node = el('div', { class: 'field' }, el('label', { for: id }, words(label)), input, after, wrong);
  input.addEventListener('input', () => mark(null));
  const mark = (text) => {
    wrong.textContent = text ?? '';
    wrong.hidden = !text;
    if (text) input.setAttribute('aria-invalid', 'true');
    else input.removeAttribute('aria-invalid');
  };
  return { name, node, input, mark, check: () => check?.(input.value) };
}

export function emailField(properties = {}) {
  const check = (value) => (/^\S+@\S+$/.test(value.trim()) ? null : 'wrong_email');
  return field({
    name: 'email', label: 'email', type: 'email', autocomplete: 'email', inputmode: 'email',
    autocapitalize: 'none', spellcheck: 'false', maxlength: 254, required: true, check, ...properties,
  });
}

/**
 * A form: fields, a button, and what happens. It says what is wrong beside the field it concerns.
 * @param submit gets the values by name; a `Problem` that it throws is shown
 * @param place of the words for its problems
 */
export function form({ fields, more = [], action, submit, place = 'form' }) {
  const alert = el('p', { class: 'alert', role: 'alert', hidden: true });
  const go = el('button', { type: 'submit', class: 'primary' }, words(action));
  const node = el(
    'form', { novalidate: true, method: 'dialog' },
    ...fields.map((one) => one.node), alert, go, ...more,
  );
  const refuse = (problem) => {
    const text = inWords(problem, place, 'form');
    const about = fields.find((one) => one.name === problem.field);
    (about?.mark ?? ((words) => { alert.textContent = words; alert.hidden = false; }))(text);
    about?.input.focus();
  };
  node.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    alert.hidden = true;
    const wrong = fields.filter((one) => {
      const key = one.check();
      one.mark(key ? words(key) : null);
      return key;
    });
    if (wrong.length > 0) {
      wrong[0].input.focus();
      return;
    }
    go.disabled = true;
    go.setAttribute('aria-busy', 'true');
    try {
      await submit(Object.fromEntries(new FormData(node)));
    } catch (error) {
      refuse(asProblem(error));
    } finally {
      go.disabled = false;
      go.removeAttribute('aria-busy');
    }
  });
  return node;
}

/** Does something that may be refused; the refusal is said in the dialog. */
export async function attempt(work) {
  try {
    await work();
  } catch (error) {
    tell(inWords(asProblem(error), 'form'));
  }
}

/** A button that does so. */
export function doing(label, work, properties) {
  const node = button(label, async () => {
    if (node.hasAttribute('aria-disabled')) return;
    node.setAttribute('aria-disabled', 'true');
    await attempt(work);
    node.removeAttribute('aria-disabled');
  }, properties);
  return node;
}

/** What was thrown, as people may read it. A mistake of the page itself goes on to the console. */
function asProblem(error) {
  if (error instanceof Problem) return error;
  throw error;
}
