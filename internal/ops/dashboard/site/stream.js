// The stream of events: text/event-stream, read by fetch, because EventSource can't send a
// token.

import { send } from "./api.js";

// parser returns a function that takes pieces of text and calls f with each event's data,
// see https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6. What
// the balancer doesn't use is left out: retry, and a byte order mark.
export function parser(f) {
  let rest = "";
  let data = [];
  return (piece) => {
    rest += piece;
    for (;;) {
      const end = rest.search(/[\r\n]/);
      // A CR at the end may be the first half of CR LF.
      if (end < 0 || (rest[end] === "\r" && end === rest.length - 1)) return;
      const line = rest.slice(0, end);
      rest = rest.slice(rest.startsWith("\r\n", end) ? end + 2 : end + 1);
      if (line === "") {
        if (data.length) f(data.join("\n"));
        data = [];
      } else if (line.startsWith("data:")) {
        data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
  };
}

// follow reads events after an ID and calls f with each, until the stream ends. It throws
// what send throws.
export async function follow(after, f, signal) {
  const response = await send("GET", `/v1/events?after=${after}`, undefined, { signal, headers: { Accept: "text/event-stream" } });
  const push = parser((data) => f(JSON.parse(data)));
  const decoder = new TextDecoder();
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return;
    push(decoder.decode(value, { stream: true }));
  }
}
