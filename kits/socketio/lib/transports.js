"use strict";
// Handshakes and connections of engine.io.

const notice = require("./core/notice");

// The balancer's Close could cross a Close without a code, and would then count as the
// end of the connection, not of the session. 1000 ends the session.
const END_SESSION = 1000;
const PROBING = 4409; // passed on to the client, which continues with long polling

// hook makes engine.io answer the handshakes of sessions from other servers, and calls
//
//   kit.opened(conn, link)    for each connection that is a WebSocket of the balancer
//   kit.leave(link)           when one of them is to leave
//
// A link is {notice, request, transport, ws, ended, keep}: ended is the code of the Close,
// and keep leaves the WebSocket open when engine.io closes its connection.
function hook(kit) {
  const { engine } = kit.io;
  const links = new WeakMap(); // by transport
  const arrivals = new WeakMap(); // engine IDs, by request

  const { handleUpgrade, handleRequest, generateId, createTransport } = engine;

  engine.handleRequest = (request, response) => {
    if (!kit.trusted(request)) notice.strip(request.headers);
    if (kit.closing && !/[?&]sid=/.test(request.url)) {
      response.writeHead(503, { Connection: "close" }).end();
      return;
    }
    handleRequest.call(engine, request, response);
  };

  engine.handleUpgrade = (request, socket, head) => {
    if (!kit.trusted(request)) notice.strip(request.headers);
    const said = notice.read(request.headers);
    if (kit.closing) return refuse(socket, 503);
    if (!said || !said.reason) return handleUpgrade.call(engine, request, socket, head);
    const ignore = () => {};
    socket.on("error", ignore);
    kit.find(said).then(({ status, state }) => {
      socket.removeListener("error", ignore);
      if (socket.destroyed) return;
      if (status !== 101) return refuse(socket, status);
      // For engine.io it is a new connection, whose ID is that of the old one.
      request._query = Object.fromEntries(new URL(request.url, "http://localhost").searchParams);
      delete request._query.sid;
      request.headers = { ...state.headers, ...request.headers };
      arrivals.set(request, state.engine);
      handleUpgrade.call(engine, request, socket, head);
    });
  };

  engine.generateId = (request) => arrivals.get(request) || generateId.call(engine, request);

  engine.createTransport = (name, request) => {
    const transport = createTransport.call(engine, name, request);
    const said = name === "websocket" && notice.read(request.headers);
    if (!said || !asks(kit, request)) return transport;
    const ws = request.websocket;
    const link = { notice: said, request, transport, ws, ended: 0, keep: false };
    links.set(transport, link);
    // engine.io sends nothing before the session begins here.
    if (arrivals.has(request)) transport.writable = false;
    ws.prependListener("close", (code) => (link.ended = code));
    ws.on("ping", (payload) => {
      if (String(payload) !== notice.LEAVE) return;
      if (link.session) kit.leave(link.session);
      else ws.close(PROBING, "not ready");
    });
    transport.doClose = (done) => {
      if (!link.keep) ws.close(END_SESSION);
      if (done) done();
    };
    return transport;
  };

  engine.on("headers", (headers, request) => {
    if (asks(kit, request)) headers["Holdfast-Control"] = "1";
  });

  engine.on("connection", (conn) => {
    if (conn.protocol !== 4) return; // clients of socket.io 2 can't be moved
    const link = links.get(conn.transport);
    if (link) kit.opened(conn, link);
    else conn.once("upgrade", (transport) => links.has(transport) && kit.opened(conn, links.get(transport)));
  });
}

// asks says whether the answer to a request asks for notices.
function asks(kit, request) {
  return kit.server !== 0 && request.headers.upgrade !== undefined && request.headers["holdfast-control"] === "1";
}

function refuse(socket, status) {
  const text = { 404: "Not Found", 503: "Service Unavailable" }[status];
  socket.on("error", () => {});
  socket.end(`HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

module.exports = { hook };
