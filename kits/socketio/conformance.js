"use strict";
// The test application for `holdfast doctor --protocol socketio`, see docs/conformance.md.
//
//   require("holdfast-socketio/conformance")(io);
//
// It adds handlers for events whose names begin with "holdfast:" to a server, or to a
// namespace of it. Don't leave it in a server that strangers can reach: they could send
// messages to any room.
//
// What a session needs to continue on another server is in socket.data and in its rooms.

module.exports = function conformance(io) {
  const namespace = typeof io.of === "function" ? io.of("/") : io;
  namespace.on("connection", (socket) => {
    const state = (socket.data.conformance ??= { received: 0, sent: 0, every: 0 });
    let timer;

    const sendEvents = () => {
      clearInterval(timer);
      if (state.every > 0) timer = setInterval(sendEvent, state.every);
    };

    function sendEvent() {
      const n = ++state.sent;
      // The client's ack may come after the session has moved. Its room reaches it anywhere.
      socket.emit("holdfast:event", n, () => namespace.to(socket.id).emit("holdfast:acked", n));
    }

    // Answers with the number of the message before this one, after some milliseconds.
    socket.on("holdfast:echo", (n, after, ...rest) => {
      const answer = rest.pop();
      const last = state.received;
      state.received = n;
      if (after > 0) setTimeout(() => answer(n, last, ...rest), after);
      else answer(n, last, ...rest);
    });

    socket.on("holdfast:start", (every) => {
      state.every = every;
      sendEvents();
    });
    socket.on("holdfast:join", (room) => socket.join(room));
    socket.on("holdfast:broadcast", (room, from, n) => namespace.to(room).emit("holdfast:broadcast", from, n));
    socket.on("disconnect", () => clearInterval(timer));
    sendEvents(); // of a session that came from another server
  });
};
