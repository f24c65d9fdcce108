// Who a pane is, and what it presents for that, in CONNECT and over REST: a visitor by the browser's
// cookie or by a token of this tab, or the holder of an account. Nothing of the screen is known here;
// `change`, `refreshed` and `ended` tell what happens.

import { Problem, ask } from './api.js';
import { call } from './words.js';

/** When to refresh, as a part of the access token's life. */
const REFRESH_AT = 0.8;

/** An access token that ends sooner than this is not presented any more. */
const MARGIN_MS = 10_000;

/** After a refresh that failed for a reason that passes. */
const AGAIN_MS = 5_000;

export class Identity extends EventTarget {
  /**
   * @param key names the pane in this browser
   * @param fresh whether its visitor's token is kept for this tab, instead of being the visitor that
   *   the browser's cookie knows
   */
  constructor({ key, fresh }) {
    super();
    this.key = key;
    this.fresh = fresh;
    /** anonymous, member, bot, admin */
    this.kind = 'anonymous';
    this.userId = null;
    this.email = null;
    /** What the server says he may do: `{action, grant, about}`. */
    this.permissions = [];
    this.access = null;
    this.signedIn = this.#stored() !== null;
    // Another tab of this visitor has made an account of him, and has just left its token here.
    addEventListener('storage', ({ key: changed, newValue }) => {
      const isLate = this.kind !== 'anonymous' && !this.signedIn;
      if (changed === this.#refreshKey() && newValue && isLate) this.upgraded({ kind: this.kind });
    });
  }

  // What is presented.

  /** The headers for CONNECT. Throws a `Problem`; with `isUnknown` the account is signed out. */
  async credentials() {
    this.signedIn = this.#stored() !== null;
    if (this.signedIn) return { authorization: `Bearer ${await this.#bearer()}` };
    return this.fresh ? { 'visitor-token': this.#visitorToken() ?? 'new' } : {};
  }

  /** CONNECTED says who he is. */
  connected({ userId, kind, token }) {
    this.userId = userId;
    this.kind = kind ?? this.kind;
    if (this.fresh && token && !this.signedIn) sessionStorage.setItem(this.#tokenKey(), token);
    this.#tell('change');
    this.#look();
  }

  /** The server has made him the holder of an account, on the connection that he has. */
  upgraded({ kind = 'member', name } = {}) {
    this.kind = kind;
    this.signedIn = this.#stored() !== null;
    if (name) call(this.userId, name);
    this.#tell('change');
    // Before the token is here he is neither: the visitor's proof counts no more.
    if (this.signedIn) this.#look();
  }

  // What he does with his account.

  /** Makes an account of the visitor: the same address, the same conversations. */
  async upgrade({ email, password, name }) {
    const body = { email, password, ...(name && { name }), device_name: deviceName() };
    const pair = await ask('POST', '/auth/upgrade', { body, by: this.#visitor() });
    sessionStorage.removeItem(this.#tokenKey());
    this.#keep(pair);
    this.upgraded(pair);
  }

  /** Signs in; with `merge` the visitor that he is now becomes a part of the account. */
  async signIn({ email, password, merge }) {
    const body = { email, password, device_name: deviceName(), merge_visitor: merge };
    const by = merge ? this.#visitor() : {};
    const pair = await ask('POST', '/auth/login', { body, by });
    if (merge) sessionStorage.removeItem(this.#tokenKey());
    this.#keep(pair);
    this.kind = pair.kind ?? 'member';
    this.signedIn = true;
  }

  /** Signs out, here or on every device. Here it counts also when the server does not answer. */
  async signOut({ everywhere = false } = {}) {
    try {
      await this.#ask('POST', '/auth/logout', { all: everywhere });
    } catch (problem) {
      if (everywhere && !problem.isUnknown) throw problem;
    }
    sessionStorage.removeItem(this.#tokenKey());
    this.#forget();
  }

  /** What he was is no use any more: he will be a new visitor. */
  drop() {
    sessionStorage.removeItem(this.#tokenKey());
    if (this.signedIn) this.#forget();
  }

  /** Where he is signed in. */
  async devices() {
    const answer = await this.#ask('GET', '/me/sessions');
    return answer.items ?? answer;
  }

  async signOutDevice(id) {
    await this.#ask('DELETE', `/me/sessions/${encodeURIComponent(id)}`);
  }

  async changePassword({ old, password }) {
    await this.#ask('POST', '/auth/password', { old, new: password });
  }

  /** A link that carries the visitor to another browser: `{url, qr_svg, expires_in}`. */
  async link() {
    return this.#ask('POST', '/auth/link');
  }

  /** Becomes the visitor of a link, by the cookie that comes with the answer. */
  async redeem(token) {
    await ask('POST', '/auth/link/redeem', { body: { link_token: token }, by: { keep: true } });
    if (this.signedIn) await this.signOut();
  }

  async forgot(email) {
    await ask('POST', '/auth/password/forgot', { body: { email } });
  }

  async reset({ token, password }) {
    await ask('POST', '/auth/password/reset', { body: { token, new: password } });
  }

  /** Until when he is kept out, where that has an end. */
  async bannedUntil() {
    try {
      await this.#ask('GET', '/me/permissions');
    } catch (problem) {
      return problem.until;
    }
    return undefined;
  }

  /** A page of what is stored of him: `{items, next_cursor, has_more}`, oldest first. */
  async history(cursor) {
    const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : '';
    return this.#ask('GET', `/me/export${query}`);
  }

  /** Gives a new access token, which lasts as long as the first did. One at a time in this browser. */
  refresh() {
    this.refreshing ??= locked(this.#refreshKey(), () => this.#refresh())
      .finally(() => { this.refreshing = null; });
    return this.refreshing;
  }

  async #refresh() {
    // Read inside of the lock: another tab may just have had it exchanged.
    const token = this.#stored();
    if (token === null) {
      this.#forget();
      throw new Problem({ code: 'unauthorized', status: 401 });
    }
    try {
      const pair = await ask('POST', '/auth/refresh', { body: { refresh_token: token } });
      this.#keep(pair);
      this.#tell('refreshed');
    } catch (problem) {
      if (problem.isUnknown) this.#forget();
      throw problem;
    }
  }

  /** The access token was refused: it is not presented again. */
  distrust() {
    this.access = null;
  }

  async #bearer() {
    if (!this.access || this.access.endsAt - Date.now() < MARGIN_MS) await this.refresh();
    return this.access.token;
  }

  #keep({ user_id, access_token, expires_in, refresh_token, name }) {
    localStorage.setItem(this.#refreshKey(), refresh_token);
    this.signedIn = true;
    this.access = { token: access_token, endsAt: Date.now() + expires_in * 1_000 };
    if (user_id && name) call(user_id, name);
    this.#refreshIn(expires_in * 1_000 * REFRESH_AT);
  }

  #refreshIn(millis) {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      try {
        await this.refresh();
      } catch (problem) {
        if (!problem.isUnknown) this.#refreshIn(AGAIN_MS);
      }
    }, millis);
  }

  #forget() {
    clearTimeout(this.timer);
    localStorage.removeItem(this.#refreshKey());
    this.access = null;
    this.signedIn = false;
    this.kind = 'anonymous';
    this.email = null;
    this.permissions = [];
    this.#tell('ended');
  }

  /** Asks what he is called and what he may do. Not knowing it is no harm. */
  async #look() {
    const { userId } = this;
    try {
      const { permissions = [] } = await this.#ask('GET', '/me/permissions');
      if (this.userId === userId) this.permissions = permissions;
      if (this.signedIn) {
        const { name, email } = await this.#ask('GET', '/me');
        if (this.userId === userId) this.email = email ?? null;
        if (name) call(userId, name);
      }
    } catch {
      return;
    }
    this.#tell('change');
  }

  /** Asks as the person that he is. */
  async #ask(method, path, body) {
    const by = this.signedIn
      ? { authorization: `Bearer ${await this.#bearer()}` }
      : this.#visitor();
    return ask(method, path, { body, by });
  }

  #visitor() {
    return this.fresh ? { authorization: `Visitor ${this.#visitorToken()}` } : { cookie: true };
  }

  #visitorToken() {
    return sessionStorage.getItem(this.#tokenKey());
  }

  #stored() {
    return localStorage.getItem(this.#refreshKey());
  }

  #tokenKey() {
    return `stompbox.token.${this.key}`;
  }

  #refreshKey() {
    return `stompbox.refresh.${this.key}`;
  }

  #tell(type) {
    this.dispatchEvent(new Event(type));
  }
}

/** Two tabs must not present one refresh token: the second would look like a thief. Where there are
 *  no locks (a plain address of the LAN) the server forgives it for ten seconds. */
function locked(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}

/** What this browser is called in the list of devices. */
function deviceName() {
  const agent = navigator.userAgent;
  const first = (names) => names.find(([mark]) => agent.includes(mark))?.[1];
  const browser = first([
    ['Edg/', 'Edge'], ['OPR/', 'Opera'], ['SamsungBrowser', 'Samsung Internet'], ['Whale/', 'Whale'],
    ['Firefox/', 'Firefox'], ['FxiOS', 'Firefox'], ['CriOS', 'Chrome'], ['Chrome/', 'Chrome'],
    ['Safari/', 'Safari'],
  ]);
  const system = first([
    ['iPhone', 'iPhone'], ['iPad', 'iPad'], ['Android', 'Android'], ['Windows', 'Windows'],
    ['Mac OS', 'Mac'], ['CrOS', 'ChromeOS'], ['Linux', 'Linux'],
  ]);
  return [browser ?? 'Browser', system].filter(Boolean).join(', ');
}
