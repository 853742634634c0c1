"use strict";
// Late replies. A session that has moved may still have handlers here that answer, and
// its client may answer what this server has asked. Packets and acks follow the session.
//
// Ack IDs of different servers never meet: each server counts from its number times
// SPAN, and begins again when it has used all. Some clients keep them in 31 bits.

const { randomInt } = require("crypto");

const SPAN = 2 ** 20;
const SERVERS = 2 ** 11;
const KEEP = 120_000; // ms for which a session that has left is remembered
const QUEUE = 1000; // packets that wait for the new server

class Post {
  constructor(kit) {
    this.kit = kit;
    this.left = new Map(); // entries by session: it may have been here more than once
  }

  // leave remembers a session and sends what is still written to it to its new server.
  leave(session) {
    const entry = { id: session.id, sockets: new Map(), to: 0, queue: [], until: Date.now() + KEEP };
    for (const socket of session.client.sockets.values()) entry.sockets.set(socket.nsp.name, socket);
    const others = this.left.get(session.id) || [];
    for (const other of others) other.to = 0; // where it is now isn't known
    this.left.set(session.id, [...others, entry]);
    const { client } = session;
    client._packet = (packet, opts = {}) => {
      if (!opts.volatile) this.forward(entry, client.encoder.encode(packet));
    };
    client.writeToEngine = (packets, opts = {}) => {
      if (!opts.volatile) this.forward(entry, Array.isArray(packets) ? packets : [packets]);
    };
    return entry;
  }

  forget(entry) {
    const rest = (this.left.get(entry.id) || []).filter((other) => other !== entry);
    if (rest.length > 0) this.left.set(entry.id, rest);
    else this.left.delete(entry.id);
  }

  forward(entry, packets) {
    if (entry.to) this.send(entry.to, { kind: "packets", session: entry.id, packets });
    else if (entry.queue.length < QUEUE) entry.queue.push(packets);
  }

  // passAck sends an ack to the server that has asked. It returns false if that can't be.
  passAck(session, socket, packet) {
    const server = Math.floor(packet.id / SPAN);
    if (session.epoch === 0 || !Number.isSafeInteger(packet.id) || server === 0 || server >= SERVERS) return false;
    const message = { kind: "ack", session: session.id, nsp: socket.nsp.name, id: packet.id, data: packet.data };
    if (server === this.kit.server) this.receive(message);
    else this.send(server, message);
    return true;
  }

  // claimed tells the old server where the session is now.
  claimed(session, previous) {
    this.send(previous, { kind: "claimed", session: session.id, server: this.kit.server });
  }

  send(server, message) {
    if (server === this.kit.server) {
      setImmediate(() => this.receive(message));
      return;
    }
    this.kit.mail.send(server, message).catch((error) => this.kit.warn(new Error(`a late reply is lost: ${error.message}`)));
  }

  receive(message) {
    const entries = this.left.get(message.session) || [];
    switch (message.kind) {
      case "claimed":
        for (const entry of entries) {
          entry.to = message.server;
          for (const packets of entry.queue.splice(0)) this.forward(entry, packets);
        }
        return;
      case "ack":
        for (const entry of entries) {
          const socket = entry.sockets.get(message.nsp);
          if (socket && socket.acks.has(message.id)) socket.onack({ id: message.id, data: message.data });
        }
        return;
      case "packets": {
        const session = this.kit.sessions.get(message.session);
        if (session && session.state === "open") session.client.writeToEngine(message.packets, {});
        else if (session && session.state === "arriving") session.late.push(message.packets);
        else if (entries.length > 0) this.forward(entries[entries.length - 1], message.packets); // it has moved on
      }
    }
  }

  // waiting is how many acks sessions that have left still owe to this server.
  waiting() {
    let n = 0;
    for (const entries of this.left.values()) {
      for (const { sockets } of entries) for (const socket of sockets.values()) n += socket.acks.size;
    }
    return n;
  }

  sweep() {
    const now = Date.now();
    for (const [id, entries] of this.left) {
      const rest = entries.filter((entry) => entry.until > now);
      if (rest.length > 0) this.left.set(id, rest);
      else this.left.delete(id);
    }
  }
}

// number makes a namespace count its acks in the range of a server. The beginning is
// random, since a server may have had the same number not long ago.
function number(nsp, server) {
  let n = randomInt(SPAN);
  Object.defineProperty(nsp, "_ids", {
    configurable: true,
    get: () => server * SPAN + n,
    set: () => (n = (n + 1) % SPAN),
  });
}

module.exports = { Post, number, SERVERS };
