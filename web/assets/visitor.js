// One visitor: a STOMP session that comes back by itself, and the messages of its conversations.
// Nothing of the screen is known here; whoever draws listens for `change`, `message`, `problem`.

const { Client, ReconnectionTimeMode } = globalThis.StompJs ?? {};

/** How long to wait between attempts: doubled from the first to the second. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 15_000;

/** After these the server does not want the same visitor back by itself. */
const FINAL_CODES = new Set([4401, 4403, 4409, 4410]);

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
    this.fresh = fresh;
    /** connecting, connected, offline, replaced, closed */
    this.state = 'connecting';
    this.reason = '';
    this.userId = null;
    this.node = null;
    /** Conversations by the other's address, each a list of messages in order. */
    this.conversations = new Map();
    this.mine = new Map();
    this.seen = new Set();
    this.prefix = random();
    this.count = 0;
    this.hurried = false;
    this.client = new Client({
      brokerURL: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws-chat`,
      reconnectDelay: RETRY_FIRST_MS,
      maxReconnectDelay: RETRY_MAX_MS,
      reconnectTimeMode: ReconnectionTimeMode.EXPONENTIAL,
      connectionTimeout: 10_000,
      heartbeatIncoming: 10_000,
      heartbeatOutgoing: 25_000,
      beforeConnect: () => this.#beforeConnect(),
      onConnect: (frame) => this.#connected(frame),
      onStompError: (frame) => this.#refused(frame),
      onWebSocketClose: (event) => this.#closed(event),
    });
  }

  connect() {
    this.#become('connecting');
    this.client.activate();
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

  async #beforeConnect() {
    if (this.hurried) {
      // The node is going; its clients should not arrive at another all at once.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 1_500));
      this.hurried = false;
    }
    const token = this.fresh ? (sessionStorage.getItem(this.#kept()) ?? 'new') : null;
    this.client.connectHeaders = {
      'accept-language': document.documentElement.lang,
      ...(token && { 'visitor-token': token }),
    };
  }

  #kept() {
    return `stompbox.token.${this.key}`;
  }

  #connected({ headers }) {
    this.userId = headers['user-name'];
    this.node = headers.node;
    if (this.fresh && headers['visitor-token']) {
      sessionStorage.setItem(this.#kept(), headers['visitor-token']);
    }
    this.client.subscribe('/user/queue/messages', (frame) => this.#received(JSON.parse(frame.body)));
    this.client.subscribe('/user/queue/errors', (frame) => this.#problem(JSON.parse(frame.body)));
    this.#become('connected');
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
    this.seen.add(body.id);
    const peer = body.echo ? body.to : body.from;
    const began = sentAt.get(body.client_id);
    const message = {
      id: body.id,
      text: body.message,
      own: body.echo,
      at: new Date(body.timestamp),
      state: 'stored',
      seq: body.seq,
      tookMs: began === undefined ? undefined : performance.now() - began,
    };
    const list = this.conversation(peer);
    list.push(message);
    this.#tell('message', { peer, message });
  }

  #problem(problem) {
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

  #refused(frame) {
    // The close that follows says whether to come back; these are the words for people.
    this.#tell('problem', { code: 'error', detail: frame.headers.message ?? frame.body });
  }

  #closed(event) {
    this.hurried = event.code === 1012;
    if (!FINAL_CODES.has(event.code)) {
      this.#become('offline');
      return;
    }
    this.client.deactivate();
    this.#become(event.code === 4409 ? 'replaced' : 'closed', event.reason || String(event.code));
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

/** Eight letters or digits. `crypto.randomUUID` is not there on a plain address of the LAN. */
function random() {
  const octets = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(octets, (octet) => (octet % 36).toString(36)).join('');
}
