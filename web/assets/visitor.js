// One person of the page: a STOMP session that comes back by itself, and the messages of its
// conversations. Nothing of the screen is known here; whoever draws listens for `change`, `message`,
// `history`, `moved`, `emptied`, `upgraded`, `problem`.

import { Identity } from './identity.js';
import { call } from './words.js';

const { Client, ReconnectionTimeMode } = globalThis.StompJs ?? {};

/** How long to wait between attempts: doubled from the first to the second. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 15_000;

/** After these the server does not want the same person back by itself. */
const FINAL_CODES = new Set([4401, 4403, 4409, 4410]);

/** After these a new access token may be taken, unless the sign-in itself has ended. */
const TOKEN_CODES = new Set([4401, 4410]);

/** A session that lived less than this does not try a new access token once more. */
const SETTLED_MS = 5_000;

/** How much later than agreed a heart-beat of the server may come before it counts as missed. */
const HEARTBEAT_GRACE_MS = 2_000;

/** How often to look whether one is missed. */
const LOOK_EVERY_MS = 1_000;

const NOTIFICATIONS = '/user/queue/notifications';
const REFRESH = '/app/auth.refresh';

/** How many pages of earlier messages are read at once. */
const PAGES_MAX = 100;

/** What heals by itself is sent again by itself, so many times. */
const HEALS = new Set(['rate_limited', 'try_later', 'store_unavailable', 'draining']);
const ATTEMPTS_MAX = 5;

/** When each message of this window was sent, so that its other visitor can say how long it took. */
const sentAt = new Map();

export class Visitor extends EventTarget {
  /**
   * @param key names the visitor in this tab
   * @param fresh whether to ask for a new visitor, and to keep its token for this tab, instead of
   *   being the one that the browser's cookie knows
   */
  constructor({ key, fresh }) {
    super();
    this.key = key;
    this.identity = new Identity({ key, fresh });
    this.identity.addEventListener('refreshed', () => this.#present());
    this.identity.addEventListener('ended', () => this.#ended());
    /** connecting, connected, reconnecting (a heart-beat is missed), offline, replaced, closed */
    this.state = 'connecting';
    this.reason = '';
    this.node = null;
    this.#empty();
    this.prefix = random();
    this.count = 0;
    this.hurried = false;
    this.client = new Client({
      webSocketFactory: () => this.#open(),
      reconnectDelay: RETRY_FIRST_MS,
      maxReconnectDelay: RETRY_MAX_MS,
      reconnectTimeMode: ReconnectionTimeMode.EXPONENTIAL,
      connectionTimeout: 10_000,
      heartbeatIncoming: 10_000,
      heartbeatOutgoing: 25_000,
      // A line that is dead answers no close: without this the browser waits a minute for the answer.
      discardWebsocketOnCommFailure: true,
      beforeConnect: () => this.#beforeConnect(),
      onConnect: (frame) => this.#connected(frame),
      onStompError: (frame) => this.#refused(frame),
      onWebSocketClose: (event) => this.#closed(event),
    });
  }

  /** Nobody yet, with no conversation. */
  #empty() {
    this.userId = null;
    /** Conversations by the other's address, each a list of messages in order. */
    this.conversations = new Map();
    this.mine = new Map();
    this.seen = new Set();
    /** Up to where earlier messages have been read. */
    this.cursor = null;
  }

  connect() {
    this.#become('connecting');
    this.client.activate();
  }

  /**
   * Does something that makes him somebody else, and connects as that person.
   * @param change may return `{merged: true}`: who he was has become a part of who he is
   */
  async turnInto(change) {
    const was = this.userId;
    const wasActive = this.client.active;
    // What he was may be closed by the server before the answer comes: that is no news then.
    this.turning = true;
    try {
      const { merged = false } = (await change()) ?? {};
      await this.client.deactivate();
      this.#empty();
      this.#tell('emptied');
      this.wasMerged = merged ? was : null;
      this.connect();
    } finally {
      this.turning = false;
      if (wasActive && !this.client.active) this.connect();
    }
  }

  /** Somebody has another address now: his conversation goes on under that. */
  rename(from, to) {
    const list = this.conversations.get(from);
    if (!list || from === to) return;
    this.conversations.delete(from);
    const known = this.conversations.get(to) ?? [];
    for (const message of list) if (message.own) message.to = to;
    this.conversations.set(to, [...list, ...known]);
    this.#tell('change');
  }

  /** Whether anybody has written to anybody. */
  get hasConversations() {
    return [...this.conversations.values()].some((list) => list.length > 0);
  }

  /** Writes to somebody. What cannot go out now goes out later, under the same name. */
  send(to, text) {
    const clientId = `${this.prefix}-${this.count += 1}`;
    const message = { clientId, to, text, own: true, at: new Date(), state: 'queued', attempts: 0 };
    this.mine.set(clientId, message);
    this.conversation(to).push(message);
    this.#transmit(message);
    this.#tell('message', { peer: to, message });
  }

  /** Sends a message once more that was refused. */
  retry(message) {
    message.attempts = 0;
    this.#transmit(message);
    this.#tell('message', { peer: message.to, message });
  }

  conversation(peer) {
    if (!this.conversations.has(peer)) {
      this.conversations.set(peer, []);
      this.#tell('change');
    }
    return this.conversations.get(peer);
  }

  /** A socket that notes when the server was last heard. */
  #open() {
    const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws-chat`;
    const socket = new WebSocket(url, this.client.stompVersions.protocolVersions());
    socket.addEventListener('message', () => this.#heard());
    return socket;
  }

  #heard() {
    this.heardAt = Date.now();
    if (this.state === 'reconnecting') this.#become('connected');
  }

  /** Shows a missed heart-beat at once. STOMP.js gives the connection up after the second one. */
  #watch(beat) {
    clearInterval(this.watching);
    const [every = 0] = (beat ?? '').split(',').map(Number);
    if (!every) return;
    const patience = Math.max(every, this.client.heartbeatIncoming) + HEARTBEAT_GRACE_MS;
    this.watching = setInterval(() => {
      const isLate = Date.now() - this.heardAt > patience;
      if (isLate && this.state === 'connected') this.#become('reconnecting');
    }, LOOK_EVERY_MS);
  }

  async #beforeConnect() {
    if (this.hurried) {
      // The node is going; its clients should not arrive at another all at once.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 1_500));
      this.hurried = false;
    }
    const credentials = await this.#credentials();
    this.client.connectHeaders = {
      'accept-language': document.documentElement.lang,
      // A server that lacks one of the queues says so, and the session goes on.
      'x-soft-errors': 'true',
      ...credentials,
    };
  }

  /** What to present. Waits for a server that is away, and ends where the account is signed out. */
  async #credentials() {
    for (let wait = RETRY_FIRST_MS; this.client.active; wait = Math.min(wait * 2, RETRY_MAX_MS)) {
      try {
        return await this.identity.credentials();
      } catch (problem) {
        if (problem.isUnknown) break;
        this.#become('offline');
        const pause = Math.max(wait, problem.retry_after_ms ?? 0);
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
    return {};
  }

  #connected({ headers }) {
    const was = this.userId;
    this.userId = headers['user-name'];
    this.node = headers.node;
    this.connectedAt = Date.now();
    const { userId } = this;
    this.identity.connected({ userId, kind: headers.kind, token: headers['visitor-token'] });
    if (this.wasMerged) this.#tell('moved', { from: this.wasMerged, to: userId });
    this.wasMerged = null;
    // Somebody else than before: what is here is not his.
    if (was && was !== userId) this.cursor = null;
    this.client.subscribe('/user/queue/messages', (frame) => this.#received(JSON.parse(frame.body)));
    this.client.subscribe('/user/queue/errors', (frame) => this.#problem(JSON.parse(frame.body)));
    this.client.subscribe(NOTIFICATIONS, (frame) => this.#notified(JSON.parse(frame.body)));
    this.#become('connected');
    this.#watch(headers['heart-beat']);
    if (headers.proof !== 'new') this.#recall(was !== userId);
    // What was written while there was no connection, and what no receipt has come for.
    for (const message of this.mine.values()) {
      if (message.state === 'queued' || message.state === 'sending') this.#transmit(message);
    }
  }

  #transmit(message) {
    if (!this.client.connected) {
      message.state = 'queued';
      return;
    }
    message.state = 'sending';
    message.attempts += 1;
    message.sentAt ??= performance.now();
    sentAt.set(message.clientId, message.sentAt);
    const receipt = `${message.clientId}-${message.attempts}-${random()}`;
    this.client.watchForReceipt(receipt, () => {
      message.receiptMs = performance.now() - message.sentAt;
      if (message.state === 'sending') message.state = 'sent';
      this.#tell('message', { peer: message.to, message });
    });
    this.client.publish({
      destination: '/app/chat.send',
      headers: { receipt, 'content-type': 'application/json' },
      body: JSON.stringify({
        to: message.to, message: message.text, client_id: message.clientId,
      }),
    });
  }

  /** Reads what was written before, from where the last time has ended. */
  async #recall(isFirst) {
    const { userId } = this;
    let latest = null;
    try {
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const { items, next_cursor: next, has_more: more } = await this.identity.history(this.cursor);
        if (this.userId !== userId) return;
        for (const item of items) latest = this.#insert(item) ?? latest;
        this.cursor = next ?? this.cursor;
        if (!more) break;
      }
    } catch {
      // Nothing is lost: what is written from now on arrives, the rest at the next connection.
    }
    if (latest) this.#tell('history', { latest, isFirst });
  }

  /** One earlier message at its place. Returns with whom it was, unless it is here already. */
  #insert(body) {
    if (body.type !== 'CHAT' || this.seen.has(body.id)) return null;
    const own = this.mine.get(body.client_id);
    if (body.echo && own) {
      this.#received(body);
      return null;
    }
    // All of it was written before this connection: what has been learnt since is newer.
    const { peer, message } = this.#read(body, Math.min(Date.parse(body.timestamp), this.connectedAt - 1));
    const list = this.conversation(peer);
    list.push(message);
    list.sort((one, other) => place(one) - place(other));
    return peer;
  }

  /** What the server has to say of the session itself. */
  #notified(body) {
    if (body.type === 'UPGRADED' || body.type === 'MEMBER') {
      this.identity.upgraded(body);
      if (body.type === 'UPGRADED') this.#tell('upgraded');
    } else if (body.kind === 'token_expiring') {
      this.identity.refresh().catch(() => {});
    } else if (body.kind === 'mute') {
      this.#tell('problem', { code: 'muted', until: body.until });
    }
  }

  /** Presents the new access token on the connection that there is. */
  #present() {
    const { access } = this.identity;
    if (!this.client.connected || !access) return;
    this.client.publish({
      destination: REFRESH,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ access_token: access.token }),
    });
  }

  #received(body) {
    if (body.type !== 'CHAT') return;
    const own = this.mine.get(body.client_id);
    if (body.echo && own) {
      Object.assign(own, { state: 'stored', seq: body.seq, id: body.id });
      this.seen.add(body.id);
      this.#tell('message', { peer: own.to, message: own });
      return;
    }
    if (this.seen.has(body.id)) return;
    const { peer, message } = this.#read(body, Date.now());
    const began = sentAt.get(body.client_id);
    if (began !== undefined) message.tookMs = performance.now() - began;
    this.conversation(peer).push(message);
    this.#tell('message', { peer, message });
  }

  /** @param since since when its sender is known to have the name that it carries */
  #read({ id, client_id: clientId, echo: own, from, from_name: name, to, message, timestamp, seq }, since) {
    this.seen.add(id);
    if (!own) call(from, name, since);
    return {
      peer: own ? to : from,
      message: { id, clientId, to, text: message, own, at: new Date(timestamp), state: 'stored', seq },
    };
  }

  #problem(problem) {
    // An older server knows neither; the session is good without.
    if ([NOTIFICATIONS, REFRESH].includes(problem.destination)) return;
    const message = this.mine.get(problem.client_id);
    if (message) {
      const heals = HEALS.has(problem.code) && message.attempts < ATTEMPTS_MAX;
      message.state = heals ? 'queued' : 'failed';
      if (heals) {
        setTimeout(() => this.#again(message), problem.retry_after_ms ?? 2_000);
      }
      this.#tell('message', { peer: message.to, message });
    }
    this.#tell('problem', problem);
  }

  #again(message) {
    if (message.state !== 'queued') return;
    this.#transmit(message);
    this.#tell('message', { peer: message.to, message });
  }

  #refused({ headers, body }) {
    // The close that follows says whether to come back; these are the words for people.
    let problem = null;
    try {
      problem = JSON.parse(body);
    } catch {
      problem = { code: 'other', detail: headers.message ?? body };
    }
    this.until = problem.until;
    if (this.identity.signedIn && problem.status === 401) {
      // The access token is no good. What follows takes another, or finds that he is signed out.
      this.identity.distrust();
      return;
    }
    this.#tell('problem', problem);
  }

  #closed({ code, reason }) {
    this.hurried = code === 1012;
    clearInterval(this.watching);
    if (!FINAL_CODES.has(code)) {
      this.#become('offline');
      return;
    }
    const mayRefresh = TOKEN_CODES.has(code) && this.identity.signedIn;
    const settled = Date.now() - (this.connectedAt ?? 0) > SETTLED_MS;
    this.client.deactivate();
    if (this.turning) return;
    if (mayRefresh) this.#renew(settled);
    else this.#become(code === 4409 ? 'replaced' : 'closed', reason.split(';')[0] || String(code));
    if (code === 4403) this.#askUntil();
  }

  /** A close has no room for how long it lasts. */
  async #askUntil() {
    this.until = await this.identity.bannedUntil();
    this.#tell('change');
  }

  /** The access token is not good any more: takes another, and comes back with it. */
  async #renew(settled) {
    this.#become('connecting');
    try {
      await this.identity.refresh();
    } catch (problem) {
      if (problem.isUnknown) return;
      // Not a word about the sign-in: the server is away, and connecting waits for it.
    }
    if (settled) this.connect();
    else this.#become('closed', 'unauthorized');
  }

  /** The account is signed out, here or by another device. */
  #ended() {
    if (this.turning) return;
    this.client.deactivate();
    this.#become('closed', 'account_ended');
  }

  #become(state, reason = '') {
    this.state = state;
    this.reason = reason;
    this.#tell('change');
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Where a message stands in its conversation: those that have no number yet come last. */
function place({ seq }) {
  return seq ?? Number.MAX_SAFE_INTEGER;
}

/** Eight letters or digits. `crypto.randomUUID` is not there on a plain address of the LAN. */
function random() {
  const octets = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(octets, (octet) => (octet % 36).toString(36)).join('');
}
