// holdfast-client: a WebSocket client for pages and Node, without dependencies. It reconnects
// without forming a herd, continues after the last message that it has, drops messages that
// it has already, notices dead connections, and sends a message again until the server has
// acknowledged it. Its README describes how to use it.

/** What can be sent in a WebSocket message. */
export type Frame = string | ArrayBuffer | ArrayBufferView<ArrayBuffer>;

/** What a frame from the server means. All fields are optional. */
export interface Received<In> {
  /** For the listeners of "message". */
  message?: In;
  /** The message's ID: the client continues after it, and drops later messages with it. */
  id?: string | undefined;
  /** The server has the message that was sent with this key. */
  key?: string | undefined;
  /** The server doesn't accept a message. With retry, the client sends it again later. */
  refused?: { key: string; reason: string; retry: boolean } | undefined;
  /** Messages are missing here. */
  gap?: boolean;
  /**
   * The server accepts messages from now on. Unacknowledged ones are sent again, after the
   * listeners of "message" have been called. Only with a codec that greets.
   */
  ready?: boolean;
}

/** A protocol: how messages become frames, and what frames mean. */
export interface Codec<In, Out> {
  /** The server is ready only when a frame says so, not as soon as there is a connection. */
  greets?: boolean;
  /**
   * False if the server doesn't acknowledge messages. Then send repeats nothing: it only
   * waits for a connection.
   */
  acknowledges?: boolean;
  /** Makes a frame. Messages without key aren't acknowledged. */
  encode(message: Out, key?: string): Frame;
  /** Reads a frame: a string, or an ArrayBuffer. */
  decode(frame: string | ArrayBuffer): Received<In>;
}

/** A message of {@link json}. Further fields are the application's. */
export interface JSONMessage {
  type?: string;
  id?: string;
  key?: string;
  reason?: string;
  retry?: boolean;
  [field: string]: unknown;
}

/**
 * The default codec: JSON objects in text messages. The field id is a message's ID, and
 * key acknowledges. The types "gap" and "refused" (with key, reason, and retry) are as in
 * {@link Received}.
 */
export const json: Codec<JSONMessage, object> = {
  encode: (message, key) => JSON.stringify(key === undefined ? message : { ...message, key }),
  decode(frame) {
    const message = JSON.parse(frame as string) as JSONMessage;
    const { type, id, key = "", reason = "", retry = false } = message;
    if (type === "gap") return { gap: true };
    if (type === "refused") return { refused: { key, reason, retry } };
    return { message, id, key: key || undefined };
  },
};

/** Delays in milliseconds. Each is a random part of the given one (full jitter). */
export interface Backoff {
  /** Before the first attempt after a connection that was stable. Default: 1000. */
  first?: number;
  /** Before the second one; it is doubled for each further one. Default: 1000. */
  base?: number;
  /** The longest. Default: 30,000. */
  max?: number;
  /** After this time a connection counts as stable. Default: 5000. */
  stable?: number;
}

/** The parts of a WebSocket that the client uses. */
export interface Socket {
  readonly readyState: number;
  binaryType: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: any): void;
  close(code?: number, reason?: string): void;
}

export interface Options<In, Out> {
  /**
   * The server's address: ws:, wss:, http:, https:, or relative to the page. The ID of the
   * last message is added as the parameter since. A function is called for each attempt,
   * with that ID or "", and adds it itself.
   */
  url: string | ((since: string) => string | Promise<string>);
  /** Subprotocols for the handshake. */
  protocols?: string | string[];
  /** The protocol. Default: {@link json}. */
  codec?: Codec<In, Out>;
  /** The ID of the last message that the application has. Default: "". */
  since?: string;
  backoff?: Backoff;
  /** How long an attempt may take until the server is ready, in ms. Default: 10,000. */
  connectTimeout?: number;
  /**
   * If nothing is received for so long, in ms, the connection is dead, and the client
   * connects again. Default: 0, never: a server may have nothing to say.
   */
  idleTimeout?: number;
  /** Makes a frame to send after half of idleTimeout, to which the server answers. */
  ping?: () => Frame;
  /** How many messages may be unacknowledged. Default: 100. */
  queue?: number;
  /** How long to wait before refused messages are sent again, in ms. Default: 2000. */
  retry?: number;
  /** Whether a Close is final: the client doesn't connect again. Default: {@link isFinal}. */
  final?: (code: number, reason: string) => boolean;
  /** The WebSocket to use. Default: the global one. In Node before 22 use that of ws. */
  WebSocket?: new (url: string, protocols?: string | string[]) => Socket;
  /** Returns a number from 0 up to, not including, 1. For tests. Default: Math.random. */
  random?: () => number;
}

/** What the client is doing. */
export type State =
  | { name: "connecting" }
  | { name: "open" }
  /** It will connect in delay ms, after a connection has ended, or couldn't be made (1006). */
  | { name: "waiting"; delay: number; code: number; reason: string }
  /** It won't connect any more, because of a final Close or of close. */
  | { name: "closed"; code: number; reason: string };

/** The listeners' arguments, by the name of their event. */
export interface Events<In> {
  state: [state: State];
  message: [message: In];
  /** Messages are missing here. */
  gap: [];
  /** The server has this message. */
  acknowledged: [key: string];
  /** The server has refused a message. Without retry it is dropped. */
  refused: [key: string, reason: string, retry: boolean];
  /** A frame couldn't be decoded, and is ignored, or there is no URL. */
  error: [error: unknown];
}

/**
 * The default of Options.final: 1000, 1008 (policy violation) and the application's codes,
 * 4000 to 4999. After all others, the server may accept a new connection.
 */
export const isFinal = (code: number) => code === 1000 || code === 1008 || code >= 4000;

/** Returns a key that nobody else has. crypto.randomUUID needs a page by HTTPS; this doesn't. */
export const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

const REMEMBERED = 2000; // IDs of messages that aren't passed on again
const OPEN = 1; // WebSocket.OPEN

export class Client<In = JSONMessage, Out = object> {
  /** What the client is doing. */
  state: State = { name: "connecting" };
  /** The ID of the last message, or "". */
  since: string;

  #o: Options<In, Out>;
  #codec: Codec<In, Out>;
  #listeners: { [E in keyof Events<In>]?: Set<(...args: Events<In>[E]) => void> } = {};
  #socket: Socket | undefined; // of the current attempt or connection
  #attempt = 0; // number of the current attempt: results of earlier ones are ignored
  #ready = false;
  #failures = 0; // attempts since the last stable connection
  #received = 0; // when the last frame arrived
  #pinged = false; // since then
  #known = new Set<string>(); // IDs
  #queue = new Map<string, Out>(); // unacknowledged messages by key
  #timers: Record<string, ReturnType<typeof setTimeout>> = {};
  #online = () => { if (this.state.name === "waiting") this.#connect(); };

  /** Connects at once. Listeners that are added at once miss nothing. */
  constructor(options: Options<In, Out>) {
    this.#o = options;
    this.#codec = options.codec ?? (json as unknown as Codec<In, Out>);
    this.since = options.since ?? "";
    this.#start();
  }

  /** Calls listener for each event, until the function that it returns is called. */
  on<E extends keyof Events<In>>(event: E, listener: (...args: Events<In>[E]) => void): () => void {
    const all = ((this.#listeners[event] as Set<typeof listener> | undefined) ??= new Set() as any)!;
    all.add(listener);
    return () => { all.delete(listener); };
  }

  /**
   * Sends a message, again on each new connection until the server has acknowledged it, and
   * returns its key. The server must accept a key only once: hub.PublishWith does. It
   * throws a RangeError if too many messages are unacknowledged, and an Error if the client
   * is closed.
   */
  send(message: Out, key = randomKey()): string {
    if (this.state.name === "closed") throw new Error("the client is closed");
    const limit = this.#o.queue ?? 100;
    if (this.#queue.size >= limit) throw new RangeError(`${limit} messages are unacknowledged`);
    this.#queue.set(key, message);
    if (this.#ready) this.#transmit(key, message);
    return key;
  }

  /**
   * Sends a message if there is a connection, and reports whether it did. Nothing is
   * repeated: for what is soon out of date, and for answers to a greeting.
   */
  notify(message: Out): boolean {
    return this.#write(this.#codec.encode(message));
  }

  /** The messages that the server hasn't acknowledged, by key. */
  get unacknowledged(): ReadonlyMap<string, Out> { return this.#queue; }

  /**
   * Forgets the last ID, which messages have been received, and what is unacknowledged, as
   * for another room. It returns what was unacknowledged and may have arrived.
   */
  reset(): Map<string, Out> {
    const dropped = this.#queue;
    this.#queue = new Map();
    this.#known.clear();
    this.since = "";
    return dropped;
  }

  /** Ends the connection, and doesn't connect again. */
  close(code = 1000, reason = ""): void {
    if (this.state.name !== "closed") this.#end(code, reason, true);
  }

  /** Connects again after the client was closed, and sends what is unacknowledged. */
  reopen(): void {
    if (this.state.name === "closed") this.#start();
  }

  #start() {
    globalThis.addEventListener?.("online", this.#online);
    this.#failures = 0;
    this.#connect();
  }

  #emit<E extends keyof Events<In>>(event: E, ...args: Events<In>[E]) {
    for (const listener of this.#listeners[event] ?? []) {
      try {
        listener(...args);
      } catch (error) {
        // It is reported like any other, and the client goes on.
        if (typeof reportError === "function") reportError(error);
        else void Promise.reject(error);
      }
    }
  }

  #change(state: State) {
    this.state = state;
    this.#emit("state", state);
  }

  #after(timer: string, ms: number, f: () => void) {
    clearTimeout(this.#timers[timer]);
    this.#timers[timer] = setTimeout(f, ms);
  }

  async #connect() {
    this.#clear();
    const attempt = ++this.#attempt;
    const current = (f: (event: any) => void) => (event?: any) => { if (attempt === this.#attempt) f(event); };
    this.#after("connect", this.#o.connectTimeout ?? 10_000, () => this.#end(1006, "timeout"));
    this.state = { name: "connecting" };
    await undefined; // so that listeners can be added first
    if (attempt !== this.#attempt) return;
    this.#change(this.state);
    try {
      const url = await this.#url();
      if (attempt !== this.#attempt) return; // closed, or timed out
      const socket = this.#socket = new (this.#o.WebSocket ?? (WebSocket as any as NonNullable<Options<In, Out>["WebSocket"]>))(url, this.#o.protocols ?? []);
      socket.binaryType = "arraybuffer";
      socket.onopen = current(() => {
        this.#heard();
        this.#watch();
        if (!this.#codec.greets) this.#opened();
      });
      socket.onmessage = current((event) => this.#receive(event.data));
      socket.onclose = current((event) => this.#end(event.code, event.reason));
      socket.onerror = () => { /* a Close follows */ };
    } catch (error) {
      current(() => {
        this.#emit("error", error);
        this.#end(1006, "no URL");
      })();
    }
  }

  async #url(): Promise<string> {
    const { url } = this.#o;
    const made = new URL(typeof url === "string" ? url : await url(this.since), globalThis.location?.href);
    made.protocol = made.protocol.replace("http", "ws");
    made.hash = ""; // WebSockets have none
    if (typeof url === "string" && this.since) made.searchParams.set("since", this.since);
    return made.href;
  }

  // #opened is called when the server is ready, also if it is another one on the same
  // connection.
  #opened() {
    clearTimeout(this.#timers.connect);
    this.#after("stable", this.#o.backoff?.stable ?? 5000, () => { this.#failures = 0; });
    this.#ready = true;
    if (this.state.name !== "open") this.#change({ name: "open" });
    this.#sendAgain();
  }

  #sendAgain() {
    for (const [key, message] of this.#queue) this.#transmit(key, message);
  }

  #transmit(key: string, message: Out) {
    if (this.#write(this.#codec.encode(message, key)) && this.#codec.acknowledges === false) this.#queue.delete(key);
  }

  #write(frame: Frame): boolean {
    const open = this.#socket?.readyState === OPEN;
    if (open) this.#socket!.send(frame);
    return open;
  }

  #heard() {
    this.#received = Date.now();
    this.#pinged = false;
  }

  // #watch notices a connection that is dead although nobody has closed it.
  #watch() {
    const { idleTimeout: limit = 0, ping } = this.#o;
    if (limit <= 0) return;
    const idle = Date.now() - this.#received;
    if (idle >= limit) return this.#end(1006, "nothing received");
    if (ping && !this.#pinged && idle >= limit / 2) {
      this.#pinged = true;
      this.#write(ping());
    }
    this.#after("idle", (ping && !this.#pinged ? limit / 2 : limit) - idle, () => this.#watch());
  }

  #receive(frame: string | ArrayBuffer) {
    this.#heard();
    let r: Received<In>;
    try {
      r = this.#codec.decode(frame);
    } catch (error) {
      return this.#emit("error", error);
    }
    const { id, key, refused } = r;
    if (r.gap) this.#emit("gap");
    if (id) {
      if (this.#known.has(id)) return;
      this.#known.add(id);
      if (this.#known.size > REMEMBERED) this.#known.delete(this.#known.values().next().value!);
      this.since = id;
    }
    if (key && this.#queue.delete(key)) this.#emit("acknowledged", key);
    if (refused && this.#queue.has(refused.key)) this.#refused(refused);
    if (r.message !== undefined) this.#emit("message", r.message);
    if (r.ready) this.#opened();
  }

  #refused({ key, reason, retry }: NonNullable<Received<In>["refused"]>) {
    if (retry) this.#after("retry", (this.#o.retry ?? 2000) * (0.5 + this.#random()), () => this.#sendAgain());
    else this.#queue.delete(key);
    this.#emit("refused", key, reason, retry);
  }

  // #end ends an attempt or a connection. What its socket does afterwards is ignored: on a
  // dead network, it may take minutes until the browser says that it is closed.
  #end(code: number, reason: string, closed = false) {
    this.#clear();
    this.#attempt++;
    this.#ready = false;
    const socket = this.#socket;
    this.#socket = undefined;
    try {
      if (closed) socket?.close(code, reason);
    } catch { /* not a code for clients */ }
    socket?.close(); // does nothing if it is closing
    if (closed || (this.#o.final ?? isFinal)(code, reason)) {
      globalThis.removeEventListener?.("online", this.#online);
      return this.#change({ name: "closed", code, reason });
    }
    const delay = this.#delay(code, reason);
    this.#failures++;
    this.#after("connect", delay, () => this.#connect());
    this.#change({ name: "waiting", delay, code, reason });
  }

  // #delay is random, so that the clients of a server that has ended don't all come back at
  // the same time. A server that is overloaded gets more time.
  #delay(code: number, reason: string): number {
    const { first = 1000, base = 1000, max = 30_000 } = this.#o.backoff ?? {};
    const hint = /\bretry[- ]after[:= ]+(\d+(\.\d+)?)/i.exec(reason);
    if (hint) return Number(hint[1]) * 1000 * (1 + this.#random() / 2);
    const failures = code === 1013 ? this.#failures + 1 : this.#failures;
    const ceiling = failures === 0 ? first : Math.min(max, base * 2 ** (failures - 1));
    return this.#random() * ceiling + (code === 1013 ? ceiling / 2 : 0);
  }

  #random() { return (this.#o.random ?? Math.random)(); }

  #clear() {
    for (const timer in this.#timers) clearTimeout(this.#timers[timer]);
    this.#timers = {};
  }
}
