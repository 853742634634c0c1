"use strict";
// One interface for the clients of the packages redis (4 and later) and ioredis.

// bounded rejects if a promise takes longer than ms.
function bounded(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

class Redis {
  // client is connected, or connects by itself. Every command has timeout ms.
  constructor(client, timeout) {
    if (!client || typeof client.duplicate !== "function") {
      throw new TypeError("redis must be a client of the package redis (4 or later) or ioredis");
    }
    if (client.isCluster || Array.isArray(client.masters)) {
      throw new TypeError("redis is the client of a cluster: only a single Redis is supported");
    }
    this.client = client;
    this.timeout = timeout;
    this.isNodeRedis = typeof client.sendCommand === "function" && typeof client.sSubscribe === "function";
    if (!this.isNodeRedis && typeof client.call !== "function") {
      throw new TypeError("redis must be a client of the package redis (4 or later) or ioredis");
    }
  }

  // call sends a command. It rejects after the timeout; the command may still be
  // executed then.
  call(...args) {
    const texts = args.map(String);
    const sent = this.isNodeRedis ? this.client.sendCommand(texts) : this.client.call(...texts);
    return bounded(sent, this.timeout, `Redis ${texts[0]}`);
  }

  // subscribe calls listener with each text that is published on a channel. It
  // resolves, when the subscription is there, to a function that ends it. The
  // client reconnects by itself, and subscribes again.
  async subscribe(channel, listener, onError) {
    const subscriber = this.client.duplicate();
    subscriber.on("error", onError);
    if (this.isNodeRedis) {
      await bounded(subscriber.connect(), this.timeout, "Redis connection");
      await bounded(subscriber.subscribe(channel, (text) => listener(text)), this.timeout, "Redis SUBSCRIBE");
    } else {
      if (subscriber.status === "wait") await bounded(subscriber.connect(), this.timeout, "Redis connection");
      subscriber.on("message", (_, text) => listener(text));
      await bounded(subscriber.subscribe(channel), this.timeout, "Redis SUBSCRIBE");
    }
    return () => {
      subscriber.on("error", () => {}); // what comes from closing it
      if (typeof subscriber.destroy === "function") subscriber.destroy();
      else subscriber.disconnect();
    };
  }
}

module.exports = { Redis, bounded };
