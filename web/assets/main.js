// The page: two visitors side by side, or one who follows a link to somebody (`/?to=<user_id>`).

import { copyFrom } from './dom.js';
import { redeem, reset } from './person.js';
import { currentLanguage, fill, languages, nameOf, names, speak, words } from './words.js';
import { Pane } from './pane.js';
import { Visitor } from './visitor.js';

const $ = (id) => document.getElementById(id);
const to = new URLSearchParams(location.search).get('to');
const isLocal = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
const panes = [];

function draw() {
  document.documentElement.lang = currentLanguage();
  $('tagline').dataset.words = to ? 'tagline_guest' : 'tagline';
  fill(document);
  $('invite-hint').textContent = words(isLocal ? 'invite_hint_local' : 'invite_hint');
  for (const button of document.querySelectorAll('[data-language]')) {
    button.setAttribute('aria-pressed', String(button.dataset.language === currentLanguage()));
  }
  drawSwitch();
}

/** On a phone there is room for one visitor: the switch says for which. */
function drawSwitch() {
  if (panes.length < 2) return;
  $('switch').hidden = false;
  $('switch').replaceChildren(...panes.map((pane) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = pane.visitor.userId ? nameOf(pane.visitor.userId) : words(pane.side);
    button.setAttribute('aria-pressed', String(!pane.root.classList.contains('behind')));
    const unseen = pane.unseen ?? 0;
    if (unseen) {
      const badge = document.createElement('b');
      badge.textContent = unseen;
      badge.setAttribute('aria-label', words('unread', { n: unseen }));
      button.append(badge);
    }
    button.addEventListener('click', () => bringForward(pane));
    return button;
  }));
}

function bringForward(front) {
  for (const pane of panes) pane.root.classList.toggle('behind', pane !== front);
  front.unseen = 0;
  drawSwitch();
  front.log.scrollTop = front.log.scrollHeight;
  front.input.focus();
}

function add(options, side) {
  const pane = new Pane(new Visitor(options), side);
  panes.push(pane);
  $('stage').append(pane.root);
  pane.visitor.addEventListener('change', () => {
    $('node').textContent = pane.visitor.node ?? '';
    $('node').hidden = !pane.visitor.node;
  });
  return pane;
}

function asGuest() {
  document.body.classList.add('guest');
  const pane = add({ key: `guest.${to}`, fresh: true }, 'you');
  pane.home = to;
  pane.show(to);
  pane.visitor.connect();
  pane.input.focus();
}

function asTwo() {
  const left = add({ key: 'first', fresh: false }, 'left');
  const right = add({ key: 'second', fresh: true }, 'right');
  right.root.classList.add('behind');
  const pair = (pane, other) => {
    pane.visitor.addEventListener('change', () => {
      const { userId } = pane.visitor;
      if (userId && userId !== pane.known) {
        const isFirst = !pane.known;
        pane.known = userId;
        other.home = userId;
        // A conversation that was recalled before this visitor was here stays in view.
        if (isFirst && other.isReading) other.visitor.conversation(userId);
        else other.show(userId);
      }
      invite(left.visitor.userId);
      drawSwitch();
    });
    pane.visitor.addEventListener('message', ({ detail }) => {
      if (detail.message.own || !pane.root.classList.contains('behind')) return;
      pane.unseen = (pane.unseen ?? 0) + 1;
      drawSwitch();
    });
  };
  pair(left, right);
  pair(right, left);
  for (const [pane, other] of [[left, right], [right, left]]) {
    // A visitor who has become a part of an account: the other side goes on with the account.
    pane.visitor.addEventListener('moved', ({ detail: { from, to: now } }) => {
      other.visitor.rename(from, now);
      if (other.peer === from) other.show(now);
    });
  }
  // One after the other: two handshakes at once that bring no cookie would each be given one, and
  // the browser would keep the second, which is nobody's.
  const follow = () => {
    if (left.visitor.state === 'connecting') return;
    left.visitor.removeEventListener('change', follow);
    right.visitor.connect();
  };
  left.visitor.addEventListener('change', follow);
  left.input.focus();
  const start = () => {
    if (!left.visitor.client.active) left.visitor.connect();
  };
  // What a link has brought comes first: connecting would make a visitor whom nobody needs.
  if (!landed(left, start)) start();
  addEventListener('hashchange', () => landed(left, start));
}

/** Shows what a link has brought behind the `#`, where no server sees it: `link` or `reset`. */
function landed(pane, start) {
  const brought = new URLSearchParams(location.hash.slice(1));
  const view = [[redeem, brought.get('link')], [reset, brought.get('reset')]].find(([, token]) => token);
  if (!view) return false;
  const [show, token] = view;
  show(pane, token, () => {
    // Neither in the history nor in what somebody copies from the address line.
    history.replaceState(null, '', location.pathname + location.search);
    start();
  });
  return true;
}

function invite(userId) {
  if (!userId) return;
  const link = `${location.origin}/?to=${encodeURIComponent(userId)}`;
  $('link').value = link;
  $('open').href = link;
  $('invite').hidden = false;
}

async function copy() {
  await copyFrom($('link'));
  $('copy').dataset.words = 'copied';
  fill(document);
  setTimeout(() => {
    $('copy').dataset.words = 'copy';
    fill(document);
  }, 1_500);
}

for (const button of document.querySelectorAll('[data-language]')) {
  button.addEventListener('click', () => speak(button.dataset.language));
}
languages.addEventListener('change', draw);
names.addEventListener('change', drawSwitch);
$('copy').addEventListener('click', copy);
$('link').addEventListener('focus', () => $('link').select());

document.documentElement.lang = currentLanguage();
if (!globalThis.StompJs) {
  $('missing').hidden = false;
} else if (to) {
  asGuest();
} else {
  asTwo();
}
draw();
