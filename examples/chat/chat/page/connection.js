// The connection to a server. It reconnects after a loss, continues after the last
// message received, and keeps each post until it is in the room. chat.js displays
// everything.

// Reconnecting with full jitter, so that the pages of a dead server don't all come
// back at the same time. The first attempt is quick.
const FIRST_DELAY = 250; // ms
const BASE_DELAY = 1000;
const MAX_DELAY = 15000;
const STABLE_AFTER = 5000; // ms: after this time a connection counts as a success
const CONNECT_TIMEOUT = 10000;
const POST_AGAIN = 2000; // ms: when to repeat a refused post
const KNOWN_IDS = 2000; // how many IDs of displayed messages are remembered

// Connection calls these methods of the object `on`:
//   state(state, text)   connecting, waiting or connected
//   server(name)         the current server; "" for none
//   log(text, kind)      an event for the user; kind is "", "good" or "bad"
//   joined(people)       who is in the room; the messages follow
//   message(m), here(person), gone(person), typing(person), gap()
//   sent(key)            a post is in the room, or was abandoned
export class Connection {
  opened = 0; // number of connections opened
  moved = 0; // number of moves to another server without a new connection

  #on;
  #who; // {member, name, room}
  #socket = null;
  #server = "";
  #asked = false; // join or resume was sent on this connection
  #joined = false; // the server has answered with joined
  #last = ""; // ID of the last message received in this room
  #shown = new Set(); // IDs of displayed messages
  #outbox = new Map(); // key → text of posts that aren't in the room yet
  #failures = 0; // number of attempts since the last stable connection
  #timers = { retry: 0, countdown: 0, connect: 0, stable: 0, again: 0 };

  constructor(who, on) {
    this.#who = who;
    this.#on = on;
    // The network is back, so don't wait any longer.
    addEventListener("online", () => { if (!this.#socket) this.#connect(); });
    this.#connect();
  }

  // go changes the room or the name. A change of the room abandons posts that aren't
  // in the room yet.
  go(name, room) {
    if (room !== this.#who.room) {
      if (this.#outbox.size) this.#on.log(`posts abandoned, maybe not sent to ${this.#who.room}: ${this.#outbox.size}`, "bad");
      for (const key of [...this.#outbox.keys()]) this.#forget(key);
      this.#last = "";
      this.#shown.clear();
    }
    this.#who = { ...this.#who, name, room };
    this.#joined = false;
    if (this.#asked) this.#enter();
  }

  post(text) {
    const key = randomID();
    this.#outbox.set(key, text);
    if (this.#asked) this.#transmit(key);
    return key;
  }

  typing() {
    if (this.#asked) this.#send({ type: "typing" });
  }

  #connect() {
    this.#stopTimers();
    this.#on.state("connecting", "connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    this.#socket = socket;
    this.#timers.connect = setTimeout(() => socket.close(), CONNECT_TIMEOUT);
    socket.onmessage = (event) => { if (socket === this.#socket) this.#receive(JSON.parse(event.data)); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#closed(event); };
  }

  #closed(event) {
    const reason = event.reason ? ` (${event.reason})` : "";
    this.#on.log(this.#asked ? `connection closed ${event.code}${reason}` : "no connection", "bad");
    this.#socket = null;
    this.#server = "";
    this.#asked = this.#joined = false;
    this.#on.server("");
    this.#stopTimers();
    const ceiling = this.#failures === 0 ? FIRST_DELAY : Math.min(MAX_DELAY, BASE_DELAY * 2 ** (this.#failures - 1));
    this.#failures++;
    const delay = Math.random() * ceiling;
    const due = Date.now() + delay;
    this.#on.log(`reconnecting in ${seconds(delay)}`);
    const show = () => this.#on.state("waiting", `reconnecting in ${seconds(Math.max(0, due - Date.now()))}`);
    show();
    this.#timers.countdown = setInterval(show, 100);
    this.#timers.retry = setTimeout(() => this.#connect(), delay);
  }

  #stopTimers() {
    clearInterval(this.#timers.countdown);
    for (const timer of ["retry", "connect", "stable", "again"]) clearTimeout(this.#timers[timer]);
  }

  #receive(m) {
    switch (m.type) {
      case "hello": this.#hello(m); break;
      case "joined":
        // Ignore the answer for a room that was left in the meantime.
        if (m.room !== this.#who.room) break;
        this.#joined = true;
        this.#on.state("connected", "connected");
        this.#on.joined(m.people);
        break;
      case "message": this.#message(m); break;
      case "here": this.#on.here(m); break;
      case "gone": this.#on.gone(m); break;
      case "typing": this.#on.typing(m); break;
      case "gap": if (this.#joined) this.#on.gap(); break;
      case "refused": this.#refused(m); break;
    }
  }

  // #hello handles the first message of a server: on a new connection, or on the
  // same one after the balancer has moved it to another server.
  #hello(m) {
    if (m.reattach) {
      this.moved++;
      this.#on.log(`moved from ${this.#server} to ${m.server} (${m.reattach}) on the same connection`, "good");
    } else {
      this.opened++;
      clearTimeout(this.#timers.connect);
      this.#timers.stable = setTimeout(() => { this.#failures = 0; }, STABLE_AFTER);
      this.#on.log(`connected to ${m.server}`, "good");
    }
    this.#server = m.server;
    this.#on.server(m.server);
    // A server that takes over knows the session if the previous server had sent
    // joined.
    if (m.reattach && this.#joined) this.#send({ type: "resume", since: this.#last });
    else this.#enter();
    // Posts sent before may have been lost. The room ignores known keys, so nothing
    // is posted twice.
    for (const key of this.#outbox.keys()) this.#transmit(key);
  }

  #enter() {
    this.#asked = true;
    this.#send({ type: "join", ...this.#who, since: this.#last });
  }

  #message(m) {
    if (!this.#joined || this.#shown.has(m.id)) return;
    this.#shown.add(m.id);
    if (this.#shown.size > KNOWN_IDS) this.#shown.delete(this.#shown.values().next().value);
    this.#last = m.id;
    this.#forget(m.post.key);
    this.#on.message(m);
  }

  #refused(m) {
    if (!this.#outbox.has(m.key)) return;
    if (!m.retry) {
      this.#on.log(`message refused: ${m.reason}`, "bad");
      this.#forget(m.key);
      return;
    }
    this.#on.log(`message not sent yet: ${m.reason}`, "bad");
    clearTimeout(this.#timers.again);
    this.#timers.again = setTimeout(() => {
      for (const key of this.#outbox.keys()) this.#transmit(key);
    }, POST_AGAIN * (0.5 + Math.random()));
  }

  #transmit(key) {
    this.#send({ type: "post", key, text: this.#outbox.get(key) });
  }

  #forget(key) {
    if (this.#outbox.delete(key)) this.#on.sent(key);
  }

  #send(request) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request));
  }
}

// randomUUID isn't available if the page was loaded over plain HTTP from another
// machine.
export function randomID() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
