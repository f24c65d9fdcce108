// One person on the screen: who, what he may do, connected or not, conversations, messages, composer.

import { button, moment } from './dom.js';
import { person, signIn, tags } from './person.js';
import { inWords } from './problems.js';
import { currentLanguage, fill, hasWords, languages, nameOf, names, words } from './words.js';

/** How long a problem, or the outcome of something, stays on the screen. */
const SHOWN_MS = 8_000;

export class Pane {
  /** @param visitor the person who is shown; @param side the key of the words for his place */
  constructor(visitor, side) {
    this.visitor = visitor;
    this.side = side;
    this.peer = null;
    /** With whom somebody new begins. */
    this.home = null;
    this.unread = new Map();
    this.items = new Map();
    const template = document.getElementById('pane').content;
    this.root = template.firstElementChild.cloneNode(true);
    this.root.id = `pane-${visitor.key}`;
    const find = (selector) => this.root.querySelector(selector);
    this.avatar = find('.avatar');
    this.title = find('h2');
    this.stateLine = find('.state');
    this.account = find('.account');
    this.may = find('.may');
    this.ways = find('.ways');
    this.outcome = find('.outcome');
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
    this.log.scrollTop = this.log.scrollHeight;
    this.draw();
  }

  draw() {
    const { visitor } = this;
    const name = nameOf(visitor.userId);
    this.root.dataset.state = visitor.state;
    this.root.setAttribute('aria-label', `${words(this.side)}: ${name}`);
    this.title.textContent = name;
    this.title.title = visitor.userId ?? '';
    this.#drawPerson(name);
    this.avatar.textContent = visitor.userId ? visitor.userId.slice(-2) : '··';
    this.#drawState();
    this.#drawPeers();
    this.#drawConversation();
    fill(this.root);
  }

  #drawPerson(name) {
    const { identity } = this.visitor;
    const kind = words(`kind_${identity.kind}`);
    this.root.dataset.kind = identity.kind;
    this.account.querySelector('span').textContent = kind;
    this.account.setAttribute('aria-label', words('account_of', { name, kind }));
    this.may.replaceChildren(...tags(identity.permissions));
    this.may.hidden = this.may.childElementCount === 0;
  }

  #drawState() {
    const { state, reason, until } = this.visitor;
    const [, text] = this.stateLine.children;
    const key = [until && `closed_${reason}_until`, `closed_${reason}`, `state_${state}`];
    const known = key.find((one) => one && hasWords(one)) ?? key[2];
    const line = words(state === 'closed' ? known : key[2], { reason, until: until && moment(until) });
    if (text.textContent !== line) text.textContent = line;
    const ways = this.#ways();
    if (ways.length > 0) this.say('');
    // Drawn anew only when they are others: a button that has the focus keeps it.
    const names = ways.map((way) => way.textContent).join();
    if (this.ways.dataset.names === names) return;
    this.ways.dataset.names = names;
    if (this.ways.contains(document.activeElement)) this.input.focus();
    this.ways.replaceChildren(...ways);
    this.ways.hidden = ways.length === 0;
  }

  /** What there is to do about a connection that does not come back by itself. */
  #ways() {
    const { visitor } = this;
    const { state, reason } = visitor;
    const anew = (key) => button(words(key), () => visitor.turnInto(() => visitor.identity.drop()));
    const again = (key) => button(words(key), () => visitor.connect());
    if (state === 'replaced') return [again('take_back')];
    if (state !== 'closed') return [];
    if (reason === 'banned') return [again('try_again')];
    if (reason !== 'account_ended') return [anew('start_anew')];
    return [button(words('sign_in'), () => signIn(this)), anew('as_visitor')];
  }

  #drawPeers() {
    const peers = [...this.visitor.conversations.keys()];
    this.peers.hidden = peers.length < 2;
    this.peers.replaceChildren(...peers.map((peer) => {
      const tab = button(nameOf(peer), () => {
        this.show(peer);
        this.input.focus();
      }, { 'aria-pressed': String(peer === this.peer) });
      const unread = this.unread.get(peer);
      if (unread) {
        const badge = document.createElement('b');
        badge.textContent = unread;
        badge.setAttribute('aria-label', words('unread', { n: unread }));
        tab.append(badge);
      }
      return tab;
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
    visitor.addEventListener('history', ({ detail }) => this.#recalled(detail));
    visitor.addEventListener('emptied', () => this.#emptied());
    visitor.addEventListener('upgraded', () => this.say(words('created')));
    visitor.addEventListener('problem', ({ detail }) => this.#tell(inWords(detail)));
    visitor.identity.addEventListener('change', () => this.draw());
    visitor.identity.addEventListener('ended', () => this.draw());
    names.addEventListener('change', () => this.draw());
    this.account.addEventListener('click', () => person(this));
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
      parts.push(button(words('retry'), () => {
        this.visitor.retry(message);
        this.input.focus();
      }));
    }
    return parts;
  }

  /** Earlier messages have come. Somebody who has just become who he is sees the latest of them. */
  #recalled({ latest, isFirst }) {
    this.show(this.peer && !(isFirst && !this.isReading) ? this.peer : latest);
  }

  /** Whether there is a conversation in view in which something was written. */
  get isReading() {
    return Boolean(this.visitor.conversations.get(this.peer)?.length);
  }

  #emptied() {
    this.unread.clear();
    this.show(this.home);
  }

  /** Says how something went that he has asked for. */
  say(text) {
    // Emptied first: the same words once more are read out once more.
    this.outcome.textContent = '';
    setTimeout(() => { this.outcome.textContent = text; });
    clearTimeout(this.fading);
    this.fading = setTimeout(() => { this.outcome.textContent = ''; }, SHOWN_MS);
  }

  #tell(text) {
    this.problem.querySelector('span').textContent = text;
    this.problem.hidden = false;
    clearTimeout(this.forgetting);
    this.forgetting = setTimeout(() => { this.problem.hidden = true; }, SHOWN_MS);
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
