"use strict";
// Messages between the servers, by pub/sub. Each server has a channel with its number.

const { pack, unpack } = require("./codec");

class Mail {
  constructor(redis, prefix, onWarning) {
    this.redis = redis;
    this.prefix = prefix;
    this.onWarning = onWarning;
    this.end = () => {};
  }

  // open receives the messages for a server.
  async open(server, listener) {
    this.end = await this.redis.subscribe(`${this.prefix}to:${server}`, (text) => {
      let message;
      try {
        message = unpack(text);
      } catch (error) {
        return this.onWarning(new Error(`a message of another server can't be read: ${error.message}`));
      }
      listener(message);
    }, (error) => this.onWarning(new Error(`the subscription at Redis: ${error.message}`)));
  }

  // send resolves to false if the server is gone.
  async send(server, message) {
    return Number(await this.redis.call("PUBLISH", `${this.prefix}to:${server}`, pack(message))) > 0;
  }

  close() {
    this.end();
  }
}

module.exports = { Mail };
