// What one sees and does of an account, as views of the dialog: who it is, creating, signing in and
// out, devices, passwords, and the link to another browser.

import { copyFrom, duration, button, el, moment } from './dom.js';
import * as sheet from './sheet.js';
import { PASSWORD_MAX, PASSWORD_MIN, strength } from './strength.js';
import { hasWords, nameOf, words } from './words.js';

const MARKS = { yes: '✓', limited: '◐', no: '✕' };

/** What is short enough to stand under the name. */
const TAGS = ['send_direct', 'keep_history', 'many_devices'];

/** What the server knows permissions for and offers nothing of yet. */
const NOT_OFFERED = new Set(['create_room', 'manage_room', 'upload']);

/** What somebody may do, in a word each. */
export function tags(permissions) {
  const shown = permissions.filter(({ action }) => TAGS.includes(action));
  return shown.map(({ action, grant }) => el(
    'li', { class: `grant ${grant}` },
    mark(grant), words(`tag_${action}`), el('span', { class: 'unseen' }, `: ${words(`grant_${grant}`)}`),
  ));
}

/** Who somebody is, what he may do, and what there is to do. */
export function person(pane) {
  const { identity, userId } = pane.visitor;
  const kind = words(`kind_${identity.kind}`);
  const view = (show) => () => show(pane, () => person(pane));
  const actions = identity.signedIn || identity.kind !== 'anonymous'
    ? [
      button(words('devices'), view(devices)),
      button(words('change_password'), view(changePassword)),
      sheet.doing(words('sign_out'), () => signOut(pane, {})),
    ]
    : [
      button(words('create'), view(create), { class: 'primary' }),
      button(words('sign_in'), view(signIn)),
      sheet.doing(words('continue_elsewhere'), () => link(pane, () => person(pane))),
    ];
  sheet.show({
    pane: pane.visitor.key,
    title: nameOf(userId),
    nodes: [
      el('p', { class: 'about' }, el('b', {}, kind), identity.email ?? '', el('code', {}, userId ?? '')),
      el('div', { class: 'actions' }, ...actions),
      ...permissions(identity.permissions),
    ],
  });
}

function permissions(list) {
  const offered = list.filter(({ action }) => !NOT_OFFERED.has(action));
  if (offered.length === 0) return [];
  const items = offered.map(({ action, grant, about }) => {
    const text = hasWords(`may_${action}`) ? words(`may_${action}`) : about;
    const limit = grant === 'limited' && hasWords(`limited_${action}`)
      ? words(`limited_${action}`)
      : words(`grant_${grant}`);
    return el('li', { class: `grant ${grant}` }, mark(grant), el('span', {}, text), el('i', {}, limit));
  });
  return [el('h3', {}, words('may')), el('ul', { class: 'permissions' }, ...items)];
}

function mark(grant) {
  return el('span', { 'aria-hidden': 'true', class: 'mark' }, MARKS[grant] ?? '·');
}

/** The visitor gets an account, and stays who he is. */
export function create(pane, from) {
  const email = sheet.emailField();
  const password = newPassword('password', 'password', email);
  const name = sheet.field({
    name: 'name', label: 'name', type: 'text', autocomplete: 'nickname', maxlength: 40,
  });
  sheet.show({
    pane: pane.visitor.key,
    title: words('create'),
    from,
    nodes: [
      el('p', { class: 'about' }, words('create_about')),
      sheet.form({
        fields: [email, password, name],
        action: 'create',
        submit: async (values) => {
          await pane.visitor.identity.upgrade({
            email: values.email.trim(), password: values.password, name: values.name.trim(),
          });
          sheet.close();
          pane.say(words('created'));
        },
      }),
    ],
  });
}

/** Into an account that there is; a visitor who has written is asked what becomes of it. */
export function signIn(pane, from, said) {
  const { visitor } = pane;
  const email = sheet.emailField();
  const password = present('password', 'password');
  const isVisitor = visitor.identity.kind === 'anonymous' && visitor.state !== 'closed';
  const asks = isVisitor && visitor.hasConversations;
  const merge = asks ? choice() : null;
  sheet.show({
    pane: visitor.key,
    title: words('sign_in'),
    from,
    nodes: [
      sheet.form({
        fields: [email, password, ...(merge ? [merge] : [])],
        action: 'sign_in',
        place: 'signin',
        submit: async (values) => {
          const merged = values.merge === 'yes';
          await visitor.turnInto(async () => {
            await visitor.identity.signIn({
              email: values.email.trim(), password: values.password, merge: merged,
            });
            return { merged };
          });
          sheet.close();
          pane.say(words('signed_in', { name: values.email.trim() }));
        },
      }),
      button(words('forgotten'), () => forgot(pane, () => signIn(pane, from)), { class: 'plain' }),
    ],
  });
  if (said) sheet.tell(said);
}

/** Whether the visitor's conversations come along. Nothing is chosen beforehand: it is for good. */
function choice() {
  const option = (value) => el(
    'label', { class: 'option' },
    el('input', { type: 'radio', name: 'merge', value, 'aria-describedby': 'merge-wrong' }),
    words(`merge_${value}`),
  );
  const wrong = el('p', { id: 'merge-wrong', class: 'wrong', hidden: true });
  const node = el('fieldset', {}, el('legend', {}, words('merge')), option('yes'), option('no'), wrong);
  const input = node.querySelector('input');
  const show = (text) => {
    wrong.textContent = text ?? '';
    wrong.hidden = !text;
  };
  node.addEventListener('change', () => show(null));
  const check = () => (node.querySelector(':checked') ? null : 'wrong_choice');
  return { name: 'merge', node, input, mark: show, check };
}

function forgot(pane, from) {
  sheet.show({
    pane: pane.visitor.key,
    title: words('forgot'),
    from,
    nodes: [sheet.form({
      fields: [sheet.emailField()],
      action: 'forgot_send',
      submit: async ({ email }) => {
        await pane.visitor.identity.forgot(email.trim());
        sheet.tell(words('forgot_sent'));
      },
    })],
  });
}

/** The form that a letter about a forgotten password leads to. */
export function reset(pane, token, onclose) {
  sheet.show({
    pane: pane.visitor.key,
    title: words('reset'),
    onclose,
    nodes: [sheet.form({
      fields: [newPassword('new', 'new_password')],
      action: 'reset_set',
      place: 'reset',
      submit: async (values) => {
        await pane.visitor.identity.reset({ token, password: values.new });
        onclose();
        signIn(pane, null, words('reset_done'));
      },
    })],
  });
}

function changePassword(pane, from) {
  sheet.show({
    pane: pane.visitor.key,
    title: words('change_password'),
    from,
    nodes: [sheet.form({
      fields: [present('old', 'old_password'), newPassword('new', 'new_password')],
      action: 'reset_set',
      place: 'change',
      submit: async (values) => {
        await pane.visitor.identity.changePassword({ old: values.old, password: values.new });
        sheet.close();
        pane.say(words('password_changed'));
      },
    })],
  });
}

async function signOut(pane, how) {
  await pane.visitor.turnInto(() => pane.visitor.identity.signOut(how));
  sheet.close();
  pane.say(words('signed_out'));
}

/** Where the account is signed in. */
async function devices(pane, from) {
  const { identity } = pane.visitor;
  const list = el('ul', { class: 'devices', 'aria-busy': 'true' });
  sheet.show({
    pane: pane.visitor.key,
    title: words('devices'),
    from,
    nodes: [
      el('p', { class: 'about' }, words('devices_about')),
      list,
      sheet.doing(words('sign_out_everywhere'), () => signOut(pane, { everywhere: true }), {
        class: 'danger',
      }),
    ],
  });
  await sheet.attempt(async () => {
    const items = await identity.devices();
    list.replaceChildren(...items.map((device) => deviceItem(pane, device, from)));
  });
  list.removeAttribute('aria-busy');
}

function deviceItem(pane, { id, device, last_seen: seen, current, online }, from) {
  const name = device || words('device_unnamed');
  const end = async () => {
    if (current) {
      await signOut(pane, {});
      return;
    }
    await pane.visitor.identity.signOutDevice(id);
    await devices(pane, from);
    sheet.tell(words('device_signed_out', { device: name }));
  };
  const isHere = current || online;
  const state = isHere ? words('device_online') : words('device_seen', { time: moment(seen) });
  return el(
    'li', { class: isHere ? 'online' : null, 'data-device': id },
    el('span', {}, el('b', {}, name), el('small', {}, current ? `${words('this_device')}, ${state}` : state)),
    sheet.doing(words('sign_out'), end, { 'aria-label': words('sign_out_device', { device: name }) }),
  );
}

/** A link and its picture that carry the visitor to another browser. */
async function link(pane, from) {
  const { url, qr_svg: qr, expires_in: seconds } = await pane.visitor.identity.link();
  const input = el('input', {
    type: 'text', readonly: true, value: url, 'aria-label': words('link_to_here'),
    onfocus: () => input.select(),
  });
  const copy = button(words('copy'), async () => {
    await copyFrom(input);
    sheet.tell(words('copied'));
  }, { class: 'primary' });
  sheet.show({
    pane: pane.visitor.key,
    title: words('continue_elsewhere'),
    from,
    nodes: [
      el('p', { class: 'about' }, words('link_about', { time: duration(seconds * 1_000) })),
      el('div', { class: 'copying' }, input, copy),
      qr && el('img', {
        class: 'qr', width: 216, height: 216, alt: words('link_qr'), src: asImage(qr),
      }),
    ],
  });
}

/** As an image its script and its links are dead, whatever it holds. */
function asImage(svg) {
  const octets = new TextEncoder().encode(svg);
  return `data:image/svg+xml;base64,${btoa(String.fromCharCode(...octets))}`;
}

/** What a link to another browser leads to. It is used up by the click, not by looking at it. */
export function redeem(pane, token, onclose) {
  const { visitor } = pane;
  sheet.show({
    pane: visitor.key,
    title: words('redeem'),
    onclose,
    nodes: [
      el('p', { class: 'about' }, words('redeem_about')),
      visitor.identity.signedIn && el('p', { class: 'about' }, words('redeem_signed_in')),
      sheet.form({
        fields: [],
        more: [button(words('cancel'), sheet.close)],
        action: 'redeem_here',
        place: 'link',
        submit: async () => {
          await visitor.turnInto(() => visitor.identity.redeem(token));
          sheet.close();
          pane.say(words('redeemed'));
        },
      }),
    ],
  });
}

function present(name, label) {
  return sheet.field({
    name, label, type: 'password', autocomplete: 'current-password', maxlength: PASSWORD_MAX,
    required: true, check: (value) => (value ? null : 'wrong_empty'),
  });
}

/** A password to be chosen, with a hint how good it is. */
function newPassword(name, label, email) {
  const meter = el('meter', { min: 0, max: 4, low: 2, high: 3, optimum: 4, 'aria-label': words('strength') });
  const hint = el('p', { class: 'hint', id: `sheet-${name}-hint` });
  const one = sheet.field({
    name, label, type: 'password', autocomplete: 'new-password', minlength: PASSWORD_MIN,
    required: true, after: el('div', { class: 'strength' }, meter, hint),
    'aria-describedby': `sheet-${name}-hint sheet-${name}-wrong`,
    check: (value) => ([...value].length < PASSWORD_MIN ? 'wrong_short' : null),
  });
  const draw = () => {
    const { score, hint: key } = strength(one.input.value, email?.input.value);
    meter.value = score;
    hint.textContent = words(key);
  };
  one.input.addEventListener('input', draw);
  email?.input.addEventListener('input', draw);
  draw();
  return one;
}
