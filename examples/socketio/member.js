"use strict";
// Member is a stock client of socket.io that uses a room of the board and counts what goes
// wrong. crowd.js runs many of them in Node. In a browser, with a script element, it is
// globalThis.Member.

class Member {
  // io is that of socket.io-client. transports may be left out. every and answerTime, after
  // which an item counts as unanswered, are in ms.
  constructor(io, url, { name, room, transports, every, answerTime = 10_000 }) {
    Object.assign(this, {
      name, room, every, answerTime,
      connects: 0, disconnects: [], errors: [], // the reasons
      sent: 0, answered: 0, unanswered: 0, // items of this member
      slowest: 0, // ms: the longest time until an answer
      received: 0, asked: 0, // items of the room, questions of servers
      heard: {}, // the last number of each member of the room
      lost: 0, doubled: 0, reordered: 0,
      servers: [], // that answered, in order
    });
    this.missing = new Set(); // "by/n" that were left out
    this.socket = io(url, { forceNew: true, withCredentials: true, ...(transports && { transports }) });
    this.socket.on("connect", () => this.connects++);
    this.socket.on("connect_error", (error) => this.errors.push(String(error.message)));
    this.socket.on("disconnect", (reason) => this.disconnects.push(reason));
    this.socket.on("alive", (answer) => { this.asked++; answer(); });
    this.socket.on("added", (item) => this.add(item));
  }

  get id() { return this.socket.id; }

  transport() { return this.socket.io.engine?.transport?.name ?? "none"; }

  // join resolves when it is in the room, by its final transport.
  async join() {
    while (!this.socket.connected || this.transport() !== "websocket") await new Promise((done) => setTimeout(done, 50));
    const { server } = await this.socket.emitWithAck("join", { name: this.name, room: this.room });
    this.at(server);
  }

  at(server) {
    if (this.servers.at(-1) !== server) this.servers.push(server);
  }

  // start adds an item every so often: notes, and lines of a drawing, which are binary.
  start() {
    this.stop();
    this.timer = setTimeout(() => {
      this.send();
      this.timer = setInterval(() => this.send(), this.every);
    }, Math.random() * this.every);
  }

  stop() {
    clearTimeout(this.timer);
    clearInterval(this.timer);
  }

  async send() {
    const n = ++this.sent;
    const began = Date.now();
    const item = n % 2 ? { n, text: `note ${n}` } : { n, ink: new Uint16Array([n % 8, n % 1000, n % 600]).buffer };
    try {
      const answer = await this.socket.timeout(this.answerTime).emitWithAck("add", item);
      if (answer.n !== n) this.errors.push(`the answer to ${n} is about ${answer.n}`);
      this.answered++;
      this.slowest = Math.max(this.slowest, Date.now() - began);
      this.at(answer.server);
    } catch {
      this.unanswered++;
    }
  }

  // add checks that the items of each member come once and in order, and whole.
  add({ by, n, text, ink }) {
    this.received++;
    const bytes = ink && new Uint16Array(ink.buffer ? new Uint8Array(ink).buffer : ink);
    if (n % 2 ? text !== `note ${n}` : bytes?.length !== 3 || bytes[1] !== n % 1000) this.errors.push(`item ${n} of ${by} is damaged`);
    const last = this.heard[by] ?? 0;
    if (n > last) {
      for (let i = last + 1; i < n; i++) this.missing.add(`${by}/${i}`);
      this.heard[by] = n;
      this.lost += n - last - 1;
    } else if (this.missing.delete(`${by}/${n}`)) {
      this.lost--;
      this.reordered++;
    } else {
      this.doubled++;
    }
  }

  report() {
    const { socket, missing, timer, ...rest } = this;
    return { id: socket.id, connected: socket.connected, transport: this.transport(), ...rest };
  }
}

if (typeof module === "object") module.exports = { Member };
else globalThis.Member = Member;
