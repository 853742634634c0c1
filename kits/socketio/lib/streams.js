"use strict";
// Which broadcasts of the adapter's Redis stream the sockets of this server have got.
//
// The adapter reads the stream in order and delivers what others have published. What
// this server has published, it delivers as soon as Redis has answered, which may be
// before or after it is read back. So what a socket has got by a moment is: all entries
// up to a position, and this server's own entries ahead of it, without those behind it
// that have been read back and not yet been delivered. This is a cut. It is exact
// between two macrotasks only: from the answer of Redis to the delivery there
// are some microtasks.

const MARK = 99; // type of an entry that adapters ignore
const BROADCAST = 3;
const JOIN = 4;
const LEAVE = 5;
const DISCONNECT = 6;
const PAGE = 1000;

// An own entry whose answer got lost has been delivered without its ID.
const GIVE_UP = 30_000;

function compare(a, b) {
  const [time, n] = a.split("-").map(Number);
  const [otherTime, otherN] = b.split("-").map(Number);
  return time - otherTime || n - otherN;
}

// matches says whether a socket in these rooms gets what was sent with opts.
function matches(rooms, opts) {
  const to = opts.rooms || [];
  const except = opts.except || [];
  return (to.length === 0 || to.some((room) => rooms.has(room))) && !except.some((room) => rooms.has(room));
}

class Stream {
  // names are the options of the adapter: streamName and streamCount.
  constructor(nsp, redis, names) {
    this.adapter = nsp.adapter;
    this.redis = redis;
    this.name = streamOf(nsp.name, names);
    this.position = null;
    this.ahead = new Set();
    this.behind = new Map(); // with the time when they were read
    this.recordings = new Set();
    this.marked = new Promise((resolve) => (this.onMarked = resolve));
    this.hook();
  }

  hook() {
    const { adapter } = this;
    const { onRawMessage, doPublish } = adapter;
    adapter.onRawMessage = (raw, id) => {
      this.read(raw, id);
      return onRawMessage.call(adapter, raw, id);
    };
    adapter.doPublish = async (message) => {
      const id = await doPublish.call(adapter, message);
      if (id) this.published(String(id), message);
      return id;
    };
  }

  read(raw, id) {
    this.position = id;
    if (raw.uid === this.adapter.uid) {
      if (!this.ahead.delete(id)) this.behind.set(id, Date.now());
      if (Number(raw.type) === MARK) this.onMarked();
    }
    for (const recording of this.recordings) recording.push({ id, raw });
  }

  published(id, message) {
    if (this.behind.delete(id)) return; // recorded when it was read
    this.ahead.add(id);
    if (this.recordings.size === 0) return;
    const raw = this.adapter.encode(message);
    for (const recording of this.recordings) recording.push({ id, raw });
  }

  // start waits until the adapter reads the stream from a known position on. It
  // publishes marks until one of them is read.
  async start(signal) {
    for (let checked = false; this.position === null && !signal.aborted; ) {
      const id = await this.adapter.publishAndReturnOffset({ type: MARK });
      if (!checked) {
        const found = await this.redis.call("XRANGE", this.name, id, id);
        if (found.length === 0) {
          throw new Error(`the adapter doesn't write to the stream ${this.name}: give reattach the streamName and streamCount of createAdapter`);
        }
        checked = true;
      }
      let timer;
      await Promise.race([this.marked, new Promise((done) => (timer = setTimeout(done, 100)))]);
      clearTimeout(timer);
    }
  }

  cut() {
    const now = Date.now();
    for (const [id, time] of this.behind) {
      if (now - time > GIVE_UP) this.behind.delete(id);
    }
    return { position: this.position, ahead: [...this.ahead], behind: [...this.behind.keys()] };
  }

  // missed prepares what a socket with another server's cut has to get.
  async missed(cut) {
    const recorded = [];
    this.recordings.add(recorded);
    const missed = new Missed(this, cut, recorded);
    try {
      await missed.load();
    } catch (error) {
      missed.end();
      throw error;
    }
    return missed;
  }
}

// Missed has the entries that a socket may not have got.
class Missed {
  constructor(stream, cut, recorded) {
    this.stream = stream;
    this.cut = cut;
    this.recorded = recorded;
    this.entries = new Map();
  }

  // load reads the stream once. What this server gets meanwhile and later is recorded.
  async load() {
    const { position, behind } = this.cut;
    const first = [...behind].sort(compare)[0];
    let from = first || next(position); // an entry behind is at most at the position
    for (;;) {
      const page = await this.stream.redis.call("XRANGE", this.stream.name, from, "+", "COUNT", PAGE);
      for (const [id, fields] of page) this.add(String(id), object(fields));
      if (page.length < PAGE) return;
      from = next(String(page[page.length - 1][0]));
    }
  }

  add(id, raw) {
    if (raw.nsp !== this.stream.adapter.nsp.name) return;
    const { position, ahead, behind } = this.cut;
    if (compare(id, position) > 0 ? !ahead.includes(id) : behind.includes(id)) this.entries.set(id, raw);
  }

  // ready says whether the adapter here will deliver nothing that the socket has already:
  // its reader must have come as far as that of the old server, and it must have delivered
  // its own messages that the old server has read.
  ready() {
    const { position, behind } = this.stream;
    const { ahead } = this.cut;
    if ([this.cut.position, ...ahead].some((id) => compare(id, position) > 0)) return false;
    for (const id of behind.keys()) {
      const has = compare(id, this.cut.position) > 0 ? ahead.includes(id) : !this.cut.behind.includes(id);
      if (has) return false;
    }
    return true;
  }

  // take returns the messages, in order, that the socket has to get now. It gets the
  // others from the adapter if it is added to it before the next macrotask.
  take() {
    for (const { id, raw } of this.recorded) this.add(id, raw);
    this.end();
    const { position, ahead, behind, adapter } = this.stream;
    return [...this.entries]
      .filter(([id]) => !behind.has(id) && (compare(id, position) <= 0 || ahead.has(id)))
      .sort(([a], [b]) => compare(a, b))
      .map(([id, raw]) => ({ id, ...adapter.constructor.decode(raw) }));
  }

  end() {
    this.stream.recordings.delete(this.recorded);
  }
}

// replay applies messages to the rooms of a socket, and returns the packets that it
// gets, and whether one of the messages disconnects it: "", "namespace" or "connection".
function replay(messages, rooms, recovery) {
  const packets = [];
  let disconnect = "";
  for (const { id, type, data } of messages) {
    if (!data || !data.opts || !matches(rooms, data.opts)) continue;
    if (type === JOIN) for (const room of data.rooms) rooms.add(room);
    if (type === LEAVE) for (const room of data.rooms) rooms.delete(room);
    if (type === DISCONNECT) disconnect = data.close ? "connection" : "namespace";
    if (type !== BROADCAST) continue;
    const { packet, opts } = data;
    const volatile = opts.flags && opts.flags.volatile;
    // The client says with the ID how far it has got, when it recovers its connection.
    if (recovery && packet.type === 2 && packet.id === undefined && !volatile) packet.data.push(id);
    packets.push(packet);
  }
  return { packets, disconnect };
}

function next(id) {
  const [time, n] = id.split("-");
  return `${time}-${Number(n) + 1}`;
}

function object(fields) {
  if (!Array.isArray(fields)) return fields;
  const all = {};
  for (let i = 0; i < fields.length; i += 2) all[String(fields[i])] = String(fields[i + 1]);
  return all;
}

// streamOf is how the adapter chooses one of several streams for a namespace.
function streamOf(namespace, { streamName, streamCount }) {
  if (streamCount === 1) return streamName;
  let hash = 0;
  for (let i = 0; i < namespace.length; i++) hash = (hash * 31 + namespace.charCodeAt(i)) | 0;
  return `${streamName}-${hash % streamCount}`;
}

module.exports = { Stream, compare, matches, replay, streamOf };
