// One visitor on the screen: who, connected or not, conversations, messages, composer.

import { currentLanguage, fill, hasWords, languages, nameOf, words } from './words.js';

const PROBLEM_SHOWN_MS = 8_000;

export class Pane {
  /** @param visitor who is shown; @param side the key of the words for his place */
  constructor(visitor, side) {
    this.visitor = visitor;
    this.side = side;
    this.peer = null;
    this.unread = new Map();
    this.items = new Map();
    const template = document.getElementById('pane').content;
    this.root = template.firstElementChild.cloneNode(true);
    this.root.id = `pane-${visitor.key}`;
    const find = (selector) => this.root.querySelector(selector);
    this.avatar = find('.avatar');
    this.title = find('h2');
    this.stateLine = find('.state');
    this.sideLine = find('.side');
    this.peers = find('.peers');
    this.log = find('.log');
    this.list = find('ol');
    this.empty = find('.empty');
    this.problem = find('.problem');
    this.form = find('form');
    this.input = find('textarea');
    this.#listen(find('.hello'));
    this.draw();
  }

  /** Shows the conversation with somebody. */
  show(peer) {
    this.peer = peer;
    this.unread.delete(peer);
    if (peer) this.visitor.conversation(peer);
    this.log.setAttribute('aria-busy', 'true');
    this.list.replaceChildren();
    this.items.clear();
    for (const message of this.visitor.conversations.get(peer) ?? []) this.#put(message);
    this.log.removeAttribute('aria-busy');
    this.draw();
  }

  draw() {
    const { visitor } = this;
    const name = nameOf(visitor.userId);
    this.root.dataset.state = visitor.state;
    this.root.setAttribute('aria-label', `${words(this.side)}: ${name}`);
    this.title.textContent = name;
    this.title.title = visitor.userId ?? '';
    this.sideLine.textContent = words(this.side);
    this.avatar.textContent = visitor.userId ? visitor.userId.slice(-2) : '··';
    this.#drawState();
    this.#drawPeers();
    this.#drawConversation();
    fill(this.root);
  }

  #drawState() {
    const { state, reason } = this.visitor;
    const [, text] = this.stateLine.children;
    const line = words(`state_${state}`, { reason });
    if (text.textContent !== line) text.textContent = line;
    this.stateLine.querySelector('button')?.remove();
    if (state === 'replaced') {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = words('take_back');
      button.addEventListener('click', () => this.visitor.connect());
      this.stateLine.append(button);
    }
  }

  #drawPeers() {
    const peers = [...this.visitor.conversations.keys()];
    this.peers.hidden = peers.length < 2;
    this.peers.replaceChildren(...peers.map((peer) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = nameOf(peer);
      button.setAttribute('aria-pressed', String(peer === this.peer));
      const unread = this.unread.get(peer);
      if (unread) {
        const badge = document.createElement('b');
        badge.textContent = unread;
        badge.setAttribute('aria-label', words('unread', { n: unread }));
        button.append(badge);
      }
      button.addEventListener('click', () => {
        this.show(peer);
        this.input.focus();
      });
      return button;
    }));
  }

  #drawConversation() {
    const name = nameOf(this.peer);
    this.log.setAttribute('aria-label', words('log', { name }));
    const label = this.peer ? words('placeholder', { name }) : words('placeholder_waiting');
    this.input.placeholder = label;
    this.input.setAttribute('aria-label', label);
    this.form.querySelector('button').setAttribute('aria-label', words('send'));
    this.problem.querySelector('button').setAttribute('aria-label', words('close'));
    const [line, hello] = this.empty.children;
    this.empty.hidden = this.list.childElementCount > 0;
    line.textContent = this.peer ? words('empty', { name }) : words('empty_waiting');
    hello.textContent = words('hello');
    hello.hidden = !this.peer;
    for (const [message, item] of this.items) this.#fillItem(item, message);
  }

  #listen(hello) {
    const { visitor } = this;
    visitor.addEventListener('change', () => this.draw());
    visitor.addEventListener('message', ({ detail }) => this.#message(detail));
    visitor.addEventListener('problem', ({ detail }) => this.#tell(detail));
    languages.addEventListener('change', () => this.draw());
    hello.addEventListener('click', () => this.#send(words('hello_text')));
    this.problem.querySelector('button').addEventListener('click', () => {
      this.problem.hidden = true;
      this.input.focus();
    });
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.input.addEventListener('keydown', (event) => {
      // While an input method composes, Enter ends the composition (229: old Safari says it so).
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      this.#submit();
    });
    this.input.addEventListener('input', () => this.#grow());
  }

  #submit() {
    const text = this.input.value.trim();
    this.input.focus();
    if (!text || !this.peer) return;
    this.input.value = '';
    this.#grow();
    this.#send(text);
  }

  #send(text) {
    if (this.peer) this.visitor.send(this.peer, text);
    this.input.focus();
  }

  /** As high as its words, up to what the style allows. */
  #grow() {
    this.input.rows = Math.min(5, this.input.value.split('\n').length);
  }

  #message({ peer, message }) {
    if (peer !== this.peer) {
      if (!message.own && !this.unread.has(message)) {
        this.unread.set(peer, (this.unread.get(peer) ?? 0) + 1);
      }
      if (this.peer) {
        this.#drawPeers();
        return;
      }
      this.show(peer);
      return;
    }
    this.#put(message);
    this.empty.hidden = true;
  }

  #put(message) {
    const known = this.items.get(message);
    const item = known ?? document.createElement('li');
    this.#fillItem(item, message);
    if (known) return;
    this.items.set(message, item);
    const follows = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 120;
    this.list.append(item);
    if (follows || message.own) this.log.scrollTop = this.log.scrollHeight;
  }

  #fillItem(item, message) {
    const { own, state, text } = message;
    item.className = own ? `own ${state}` : 'other';
    const bubble = item.querySelector('p') ?? item.appendChild(document.createElement('p'));
    if (bubble.textContent !== text) bubble.textContent = text;
    const meta = item.querySelector('small') ?? item.appendChild(document.createElement('small'));
    meta.replaceChildren(...this.#meta(message));
  }

  #meta(message) {
    const { own, state, seq, at } = message;
    const clock = at.toLocaleTimeString(currentLanguage(), { hour: '2-digit', minute: '2-digit' });
    const parts = [span('time', clock)];
    if (seq) parts.push(span('seq', `#${seq}`, words('arrived', { seq })));
    const took = own ? message.receiptMs : message.tookMs;
    if (took !== undefined) parts.push(span('took', milliseconds(took)));
    if (own) {
      parts.push(span(`tick ${state}`, TICKS[state], words(`delivery_${state}`, { seq })));
    }
    if (state === 'failed') {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = words('retry');
      button.addEventListener('click', () => {
        this.visitor.retry(message);
        this.input.focus();
      });
      parts.push(button);
    }
    return parts;
  }

  #tell({ code, detail }) {
    const key = hasWords(`error_${code}`) ? `error_${code}` : 'error_other';
    this.problem.querySelector('span').textContent = words(key, { detail });
    this.problem.hidden = false;
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => { this.problem.hidden = true; }, PROBLEM_SHOWN_MS);
  }
}

/** One mark per state of a message: waits, goes, is stored, is stored and came back with its place. */
const TICKS = { queued: '◷', sending: '…', sent: '✓', stored: '✓✓', failed: '!' };

function span(name, text, label) {
  const element = document.createElement('span');
  element.className = name;
  element.textContent = text;
  if (label) {
    element.title = label;
    element.setAttribute('role', 'img');
    element.setAttribute('aria-label', label);
  }
  return element;
}

function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}
