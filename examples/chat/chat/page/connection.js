// The chat's protocol (docs/chat.md) over a connection that lasts: client.js, which is
// holdfast-client, connects again after a loss, and keeps each post until it is in the room.
// chat.js displays everything.
import { Client, randomKey } from "./client.js";

export { randomKey };

// Connection calls these methods of the object `on`:
//   state(state, text)   connecting, waiting, connected or closed
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
  #client;
  #server = "";
  #joined = false; // the server has answered with joined
  #countdown = 0;

  constructor(who, on) {
    this.#who = who;
    this.#on = on;
    const encode = (message, key) => JSON.stringify(key ? { type: "post", key, ...message } : message);
    this.#client = new Client({
      url: () => "/ws", // join has the ID of the last message, not the URL
      codec: { greets: true, encode, decode: (frame) => this.#decode(JSON.parse(frame)) },
      backoff: { first: 250, max: 15_000 },
    });
    this.#client.on("state", (state) => this.#state(state));
    this.#client.on("message", (m) => this.#receive(m));
    this.#client.on("gap", () => on.gap());
    this.#client.on("acknowledged", (key) => on.sent(key));
    this.#client.on("refused", (key, reason, retry) => {
      on.log(`message ${retry ? "not sent yet" : "refused"}: ${reason}`, "bad");
      if (!retry) on.sent(key);
    });
  }

  // go changes the room or the name. A change of the room abandons posts that aren't
  // in the room yet.
  go(name, room) {
    if (room !== this.#who.room) {
      const abandoned = this.#client.reset();
      if (abandoned.size) this.#on.log(`posts abandoned, maybe not sent to ${this.#who.room}: ${abandoned.size}`, "bad");
      for (const key of abandoned.keys()) this.#on.sent(key);
    }
    this.#who = { ...this.#who, name, room };
    this.#joined = false;
    if (this.#server) this.#enter();
    else this.#client.reopen(); // if the server had closed it for good
  }

  // post returns the post's key. It throws if there are too many posts to send.
  post(text) {
    this.#client.reopen();
    return this.#client.send({ text });
  }

  typing() {
    if (this.#server) this.#client.notify({ type: "typing" });
  }

  // #decode says what a message of the server means to the client. Those of a room that was
  // left in the meantime mean nothing.
  #decode(m) {
    switch (m.type) {
      case "hello": return { message: m, ready: true };
      case "message": return this.#joined ? { message: m, id: m.id, key: m.post.key } : {};
      case "gap": return { gap: this.#joined };
      case "refused": return { refused: { key: m.key, reason: m.reason, retry: m.retry === true } };
    }
    return { message: m };
  }

  #receive(m) {
    switch (m.type) {
      case "hello": this.#hello(m); break;
      case "joined":
        if (m.room !== this.#who.room) break;
        this.#joined = true;
        this.#on.state("connected", "connected");
        this.#on.joined(m.people);
        break;
      case "message": this.#on.message(m); break;
      case "here": this.#on.here(m); break;
      case "gone": this.#on.gone(m); break;
      case "typing": this.#on.typing(m); break;
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
      this.#on.log(`connected to ${m.server}`, "good");
    }
    this.#server = m.server;
    this.#on.server(m.server);
    // A server that takes over knows the session if the previous server had sent
    // joined.
    if (m.reattach && this.#joined) this.#client.notify({ type: "resume", since: this.#client.since });
    else this.#enter();
  }

  #enter() {
    this.#client.notify({ type: "join", ...this.#who, since: this.#client.since });
  }

  #state({ name, code, reason, delay }) {
    clearInterval(this.#countdown);
    if (name === "connecting") this.#on.state("connecting", "connecting");
    if (name !== "waiting" && name !== "closed") return;
    const connected = this.#server !== "";
    this.#server = "";
    this.#joined = false;
    this.#on.server("");
    this.#on.log(connected ? `connection closed ${code}${reason && ` (${reason})`}` : "no connection", "bad");
    if (name === "closed") return this.#on.state("closed", `closed: ${reason || code}`);
    this.#on.log(`reconnecting in ${seconds(delay)}`);
    const due = Date.now() + delay;
    const show = () => this.#on.state("waiting", `reconnecting in ${seconds(Math.max(0, due - Date.now()))}`);
    show();
    this.#countdown = setInterval(show, 100);
  }
}

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
