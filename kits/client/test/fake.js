// A WebSocket and a clock under the control of a test.
import { mock } from "node:test";
import { Client } from "../dist/index.js";

export class FakeSocket {
  static all = [];
  readyState = 0;
  sent = [];
  onopen = null; onmessage = null; onclose = null; onerror = null;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeSocket.all.push(this);
  }

  static get last() { return FakeSocket.all.at(-1); }

  open() { this.readyState = 1; this.onopen({}); }
  receive(message) { this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) }); }
  send(frame) { this.sent.push(frame); }
  close(code, reason) {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) throw new Error("InvalidAccessError");
    this.readyState = 2;
    this.closedWith ??= [code, reason];
  }
  // end is the end of the connection by the server, or by the network.
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
}

// settle waits until promises that are ready have had their effects.
export const settle = () => new Promise((done) => setImmediate(done));

export async function advance(ms) {
  mock.timers.tick(ms);
  await settle();
}

// start returns a client with its events, as [name, ...arguments].
export async function start(options = {}) {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1e12 });
  FakeSocket.all = [];
  const client = new Client({ url: "ws://x/ws", WebSocket: FakeSocket, random: () => 0.5, ...options });
  const events = [];
  for (const name of ["state", "message", "gap", "acknowledged", "refused", "error"]) {
    client.on(name, (...args) => events.push([name, ...args]));
  }
  await settle();
  return { client, events, states: () => events.filter(([name]) => name === "state").map(([, s]) => s) };
}

export function stop() {
  mock.timers.reset();
}
