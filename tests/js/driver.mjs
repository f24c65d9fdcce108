// Real STOMP.js clients in Node, driven by a test through JSON lines.
//
// Each line on stdin is a request {"id": n, "do": "...", ...}; each line on stdout is its answer
// {"id": n, "ok": ...} or {"id": n, "error": "words"}. Requests run beside each other. The process
// ends when stdin ends, so it never outlives the test. Nothing is retried here: STOMP.js connects
// again only when a test asks for it with `reconnect_ms`.

import { createInterface } from "node:readline";
import { Client, ReconnectionTimeMode } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";

const clients = new Map();

/** One connection of one person: the client, what came in, and who waits for it. */
class Device {
  constructor({ url, headers = {}, from_page = false, reconnect_ms = 0, sockjs }) {
    this.url = url;
    this.queues = new Map();
    this.waiting = new Set();
    this.owed = new Map();
    this.connects = 0;
    this.closes = [];
    this.errors = [];
    this.client = new Client({
      webSocketFactory: () => {
        // One transport of SockJS, by its client's name for it, and no other.
        if (sockjs) return new SockJS(this.url, null, { transports: [sockjs] });
        // As a browser would on a page of that very node.
        const origin = from_page ? this.url.replace(/^ws:\/\/([^/]+).*/, "http://$1") : undefined;
        return new WebSocket(this.url, ["v12.stomp", "v11.stomp", "v10.stomp"], { origin });
      },
      connectHeaders: headers,
      reconnectDelay: reconnect_ms,
      reconnectTimeMode: ReconnectionTimeMode.LINEAR,
      connectionTimeout: 20_000,
      onStompError: (frame) => {
        this.errors.push({ headers: frame.headers, body: frame.body });
        this.woken();
      },
      onWebSocketClose: (event) => {
        this.closes.push({ code: event.code, reason: String(event.reason) });
        // Whatever was asked and not answered never will be.
        const why = new Error(JSON.stringify({ code: "closed", close: event.code }));
        for (const reject of this.owed.values()) reject(why);
        this.owed.clear();
        this.woken();
      },
      onUnhandledMessage: (message) => this.take("unhandled", message),
      onUnhandledReceipt: (frame) => this.take("unhandled receipts", frame),
    });
  }

  /** Resolves with the headers of the first CONNECTED. */
  connect() {
    return new Promise((resolve, reject) => {
      this.client.onConnect = (frame) => {
        this.connects += 1;
        this.connected = frame.headers;
        for (const again of this.queues.values()) again.subscribe?.();
        this.woken();
        resolve(frame.headers);
      };
      this.refused = () => {
        if (this.connects > 0) return;
        const why = this.errors[0]?.body ?? JSON.stringify(this.closes[0]);
        reject(new Error(`no CONNECTED, but ${why}`));
      };
      this.client.activate();
    });
  }

  /** Resolves when the SUBSCRIBE is settled. Repeated by itself after every new CONNECTED. */
  subscribe(destination, headers = {}) {
    const queue = this.queue(destination);
    return new Promise((resolve) => {
      queue.subscribe = () => {
        const connect = this.connects;
        const receipt = this.receipt((answer) => {
          queue.settled = connect;
          this.woken();
          resolve(answer);
        });
        const options = { id: destination, ...headers, receipt };
        queue.handle = this.client.subscribe(destination, (message) => this.take(destination, message), options);
      };
      queue.subscribe();
    });
  }

  unsubscribe(destination) {
    const queue = this.queue(destination);
    delete queue.subscribe;
    return new Promise((resolve) => queue.handle.unsubscribe({ receipt: this.receipt(resolve) }));
  }

  /** Resolves with the headers of the RECEIPT. */
  send(destination, body, headers = {}) {
    return new Promise((resolve, reject) => {
      const receipt = this.receipt(resolve);
      this.owed.set(receipt, reject);
      this.client.publish({ destination, body, headers: { ...headers, receipt } });
    });
  }

  /** A SEND that asks for no RECEIPT. */
  throwAway(destination, body, headers = {}) {
    this.client.publish({ destination, body, headers });
  }

  /** Sends many messages to one person, at most `window` without RECEIPT; resolves with all RECEIPTs. */
  async burst({ to, prefix, count, window = 32, pause_ms = 0, within_ms }) {
    const receipts = new Array(count);
    let next = 0;
    const late = setTimeout(() => {
      const missing = [...this.owed.keys()].slice(0, 5);
      const why = new Error(`after ${within_ms} ms ${next} of ${count} were sent; without RECEIPT: ${missing}`);
      for (const reject of this.owed.values()) reject(why);
    }, within_ms);
    const one = async () => {
      while (next < count) {
        const number = next++;
        const body = JSON.stringify({ to, message: `${prefix} ${number}`, client_id: `${prefix}-${number}` });
        receipts[number] = await this.send("/app/chat.send", body);
        if (pause_ms > 0) await new Promise((resolve) => setTimeout(resolve, pause_ms));
      }
    };
    await Promise.all(Array.from({ length: window }, one)).finally(() => clearTimeout(late));
    return receipts;
  }

  receipt(resolve) {
    const id = `r${++Device.receipts}`;
    this.client.watchForReceipt(id, (frame) => {
      this.owed.delete(id);
      resolve(frame.headers);
    });
    return id;
  }

  queue(name) {
    if (!this.queues.has(name)) this.queues.set(name, { messages: [] });
    return this.queues.get(name);
  }

  take(name, message) {
    if (name === "/user/queue/errors") {
      // Instead of the RECEIPT.
      const { receipt_id } = JSON.parse(message.body);
      this.owed.get(receipt_id)?.(new Error(message.body));
      this.owed.delete(receipt_id);
    }
    this.queue(name).messages.push({ headers: message.headers, body: message.body });
    this.woken();
  }

  woken() {
    this.refused?.();
    for (const check of [...this.waiting]) check();
  }

  /** Resolves when `is_there` says so, or after a while; the caller sees which by what is there. */
  until(is_there, within_ms) {
    return new Promise((resolve) => {
      const check = () => {
        if (!is_there()) return;
        clearTimeout(timer);
        this.waiting.delete(check);
        resolve();
      };
      const timer = setTimeout(() => {
        this.waiting.delete(check);
        resolve();
      }, within_ms);
      this.waiting.add(check);
      check();
    });
  }
}
Device.receipts = 0;

const requests = {
  async connect(request) {
    const device = new Device(request);
    clients.set(request.client, device);
    return device.connect();
  },
  subscribe: (device, { destination, headers }) => device.subscribe(destination, headers),
  unsubscribe: (device, { destination }) => device.unsubscribe(destination),
  send: (device, { destination, body, headers }) => device.send(destination, body, headers),
  throw_away: (device, { destination, body, headers }) => device.throwAway(destination, body, headers),
  burst: (device, request) => device.burst(request),
  /** The messages of a queue, once there are `count`, or what there is after `within_ms`. */
  async messages(device, { destination, count, within_ms }) {
    const { messages } = device.queue(destination);
    await device.until(() => messages.length >= count, within_ms);
    return messages;
  },
  /** How it ended: the ERROR frames and the closes, once it has closed. */
  async ended(device, { within_ms }) {
    await device.until(() => device.closes.length > 0, within_ms);
    return { errors: device.errors, closes: device.closes };
  },
  /** How often it has connected, once that is so often and every SUBSCRIBE is settled again. */
  async connected(device, { times, within_ms }) {
    const settled = (queue) => !queue.subscribe || queue.settled === device.connects;
    const is_there = () => device.connects >= times && [...device.queues.values()].every(settled);
    await device.until(is_there, within_ms);
    return { times: is_there() ? device.connects : 0, headers: device.connected };
  },
  /** Where the next connect goes. */
  move(device, { url }) {
    device.url = url;
  },
  /** DISCONNECT with a receipt, then the close. */
  async disconnect(device) {
    await device.client.deactivate();
  },
};

function answer(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

async function handle(line) {
  const request = JSON.parse(line);
  const { id } = request;
  try {
    const device = clients.get(request.client);
    if (request.do === "connect") {
      answer({ id, ok: (await requests.connect(request)) ?? null });
    } else if (!device) {
      answer({ id, error: `there is no client ${request.client}` });
    } else {
      answer({ id, ok: (await requests[request.do](device, request)) ?? null });
    }
  } catch (error) {
    answer({ id, error: String(error?.message ?? error) });
  }
}

createInterface({ input: process.stdin }).on("line", handle).on("close", () => process.exit(0));
