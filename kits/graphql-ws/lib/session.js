"use strict";
// One connection. If it comes from the balancer, it is a session whose state is stored:
// what the client gave to connect, its operations, and where each of them is.

const notice = require("./core/notice");
const { bounded } = require("./core/redis");

const VERSION = 1; // of the stored state
const TRIES = 3; // to store the final state

const SERVICE_RESTART = 1012; // with it, a session leaves
const TRY_ANOTHER = 1011; // the balancer looks for another server
const UNKNOWN = 4404; // these are passed on to the client, which connects again
const TERMINATED = 4499;
const STATE_LOST = 4513;
const INTERNAL_ERROR = 4500; // of graphql-ws

const immediate = () => new Promise((done) => setImmediate(done));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// How graphql-ws and its clients begin a message.
const HEAD = /^\{"id":("(?:[^"\\]|\\.)*"),"type":"(\w+)"/;

// head returns the type and the ID of a message, without parsing all of it if possible.
function head(text) {
  const match = HEAD.exec(text);
  if (match) return { type: match[2], id: JSON.parse(match[1]) };
  return JSON.parse(text) ?? {};
}

class Session {
  // said is what the balancer says of the session, or null.
  constructor(kit, ws, request, said) {
    this.kit = kit;
    this.ws = ws;
    this.said = said;
    this.epoch = 0;
    this.extra = { socket: ws, request, resumed: new Map() };
    this.state = said && said.reason ? "arriving" : "open"; // or moved, closed
    this.leaving = false;
    this.init = undefined; // the payload of ConnectionInit as JSON; null if it had none
    this.acked = false;
    this.operations = new Map(); // {payload, stream, next, sent, flushed} by ID
    this.held = []; // messages of a session that arrives
    this.soon = null; // a save that several operations wait for
    this.savedAt = 0;
    kit.byExtra.set(this.extra, this);
    ws.on("error", (error) => this.fail(error));
    ws.on("message", (data) => (this.state === "arriving" ? this.held.push(String(data)) : this.receive(String(data))));
    ws.on("close", (code, reason) => this.ended(code, String(reason)));
    if (said) {
      ws.on("ping", (data) => {
        if (String(data) === notice.LEAVE) this.leave();
        else if (String(data) === notice.BEGIN && this.state === "arriving") this.arrived ||= this.arrive();
      });
    }
    if (this.state === "arriving") return;
    this.open();
    if (said) this.track();
  }

  owner() {
    return { session: this.said.session, epoch: this.epoch, server: this.kit.number, move: this.said.move };
  }

  track() {
    this.kit.sessions.add(this);
    this.kit.save(this);
  }

  // open hands the connection to graphql-ws.
  open() {
    const { kit, ws } = this;
    this.close = kit.server.opened({
      protocol: ws.protocol,
      send: (text) => this.send(text),
      close: (code, reason) => ws.close(code, reason),
      onMessage: (pass) => (this.pass = pass),
    }, this.extra);
    const { keepAlive } = kit.options;
    if (keepAlive === 0) return;
    let alive = true;
    ws.on("pong", () => (alive = true));
    this.pings = setInterval(() => {
      if (alive || this.leaving) { // pongs of a session that leaves go to the next server
        alive = false;
        ws.ping();
      } else if (this.said) {
        ws.close(TERMINATED, "Terminated"); // without a Close it would go to another server
      } else {
        ws.terminate();
      }
    }, keepAlive);
  }

  receive(text) {
    if (!this.pass) return; // graphql-ws has refused the subprotocol
    try {
      const { type, id } = head(text);
      if (type === "complete") this.finished(id);
    } catch {} // graphql-ws answers what isn't JSON
    Promise.resolve(this.pass(text)).catch((error) => this.fail(error));
  }

  fail(error) {
    if (this.state === "moved") return;
    console.error("Internal error of a connection of graphql-ws:", error);
    const reason = String(error?.message);
    this.ws.close(INTERNAL_ERROR, this.kit.isProd || Buffer.byteLength(reason) > 123 ? "Internal server error" : reason);
  }

  send(text) {
    const { ws } = this;
    if (this.state === "moved" || ws.readyState !== ws.OPEN) return Promise.resolve();
    const { type, id } = head(text);
    if (type === "connection_ack") {
      const repeated = this.acked;
      this.acked = true;
      this.changed();
      if (repeated) return Promise.resolve();
    }
    if (type === "complete" || type === "error") this.finished(id);
    const operation = this.operations.get(id);
    const cursor = operation && operation.next;
    if (operation) operation.sent = cursor;
    return new Promise((sent, failed) => {
      ws.send(text, (error) => {
        if (error) return failed(error);
        if (operation && operation.flushed !== cursor) {
          operation.flushed = cursor;
          this.changed();
        }
        sent();
      });
    });
  }

  changed() {
    if (this.kit.sessions.has(this)) this.kit.dirty.add(this);
  }

  // The following are called by operations.js.

  connecting(params) {
    this.init = params === undefined ? null : JSON.stringify(params, this.kit.replacer);
    this.changed();
  }

  async begin(id, payload) {
    if (!this.said || this.repeats(id)) return;
    this.operations.set(id, { payload: JSON.stringify(payload, this.kit.replacer), stream: false });
    await this.stored();
  }

  // repeats says whether an operation began on another server.
  repeats(id) {
    return this.extra.resumed.has(id);
  }

  // advance asks the application where a subscription is: at its beginning, and before
  // each result.
  async advance(ctx, id, payload, args, result) {
    const operation = this.operations.get(id);
    if (!operation) return;
    const begins = result === undefined;
    if (begins) operation.stream = true;
    if (!operation.stream || !this.kit.options.cursor) return;
    try {
      operation.next = JSON.stringify(await this.kit.options.cursor(ctx, id, payload, args, result)) ?? operation.next;
    } catch (error) {
      this.kit.warn(new Error(`the application's cursor: ${error.message}`));
    }
    if (!begins || operation.next === operation.flushed) return;
    operation.sent = operation.flushed = operation.next;
    await this.stored();
  }

  // stored resolves when the state is stored, or can't be. Operations that begin together
  // wait for one save.
  stored() {
    if (this.kit.failing) return this.changed();
    this.soon ||= immediate().then(() => {
      this.soon = null;
      return this.state === "open" && this.kit.save(this);
    });
    return this.soon;
  }

  finished(id) {
    this.extra.resumed.delete(id);
    if (this.operations.delete(id)) this.changed();
  }

  // snapshot is the state. The final one has what was sent; if the server is killed, what
  // hasn't been written yet is lost.
  snapshot(final = false) {
    return JSON.stringify({
      v: VERSION,
      init: this.init,
      acked: this.acked,
      operations: [...this.operations].map(([id, { payload, sent, flushed }]) => [id, payload, final ? sent : flushed]),
    });
  }

  // busy says whether something here has to be answered that isn't a subscription.
  busy() {
    if (this.init !== undefined && !this.acked) return true;
    for (const { stream } of this.operations.values()) if (!stream) return true;
    return false;
  }

  // leave is called when the balancer has sent all that the client has sent.
  async leave() {
    if (this.leaving) return;
    this.leaving = true;
    const { kit, ws } = this;
    await this.arrived;
    for (const end = Date.now() + kit.options.finish; this.busy() && Date.now() < end; ) await sleep(5);
    if (this.state !== "open" || ws.readyState !== ws.OPEN) return;
    // From here on, nothing is sent.
    const text = this.snapshot(true);
    this.state = "moved";
    this.extra.moved = true;
    kit.sessions.delete(this);
    kit.dirty.delete(this);
    this.end(SERVICE_RESTART, "session moved");
    for (let tries = 1; ; tries++) {
      try {
        await kit.store.save(this.owner(), text, true);
        ws.close(SERVICE_RESTART, "session moved");
        kit.emit("leave", this.said.session);
        return;
      } catch (error) {
        if (tries < TRIES && ws.readyState === ws.OPEN) {
          await sleep(100);
          continue;
        }
        kit.warn(new Error(`the state of a session that leaves wasn't stored: ${error.message}`));
        ws.close(STATE_LOST, "state lost");
        return;
      }
    }
  }

  // arrive is called when the old server has closed the session.
  async arrive() {
    const { kit, ws, said, extra } = this;
    ws.pause();
    try {
      const claim = await kit.store.claim(said.session, kit.number, said.move);
      if (!claim || claim.superseded) {
        this.state = "closed";
        ws.close(UNKNOWN, "session unknown");
        return;
      }
      this.epoch = claim.epoch;
      if (ws.readyState !== ws.OPEN) return; // the client has left
      const { v, init, acked, operations } = JSON.parse(claim.state);
      if (v !== VERSION) throw new Error(`its state has the version ${v}, not ${VERSION}`);
      extra.reattached = { reason: said.reason, from: said.from, move: said.move };
      this.acked = acked;
      for (const [id, payload, cursor] of operations) {
        const at = cursor ?? undefined; // JSON has no undefined in lists
        this.operations.set(id, { payload, stream: false, next: at, sent: at, flushed: at });
        extra.resumed.set(id, { cursor: at && JSON.parse(at) });
      }
      this.open();
      if (init !== undefined && this.pass) {
        const message = `{"type":"connection_init"${init === null ? "" : `,"payload":${init}`}}`;
        await bounded(this.pass(message), kit.patience, "onConnect of the application");
      }
      if (ws.readyState !== ws.OPEN) return kit.forget(this, ws.readyState === ws.CLOSED); // onConnect has refused it, or the client has left
      this.state = "open";
      // A client that has sent a ping to the lost server waits for the answer.
      if (acked && said.reason === "loss") ws.send('{"type":"pong"}');
      for (const [id, payload] of operations) this.receive(`{"id":${JSON.stringify(id)},"type":"subscribe","payload":${payload}}`);
      this.track();
      kit.emit("reattach", said.session, extra.reattached);
      for (const text of this.held.splice(0)) this.receive(text);
    } catch (error) {
      kit.warn(new Error(`a session couldn't be restored: ${error.message}`));
      this.state = "closed";
      ws.close(TRY_ANOTHER, "state unavailable");
    } finally {
      ws.resume();
    }
  }

  // ended is called when the connection is closed.
  ended(code, reason) {
    const open = this.state === "open" && this.said;
    if (this.state !== "moved") this.state = "closed";
    this.end(code, reason);
    if (open) this.kit.forget(this, code === 1006);
  }

  // end tells graphql-ws of the end of the connection, once.
  end(code, reason) {
    clearInterval(this.pings);
    const { close } = this;
    this.close = undefined;
    if (close) Promise.resolve(close(code, reason)).catch((error) => this.kit.warn(error));
  }
}

module.exports = { Session };
