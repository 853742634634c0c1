// Package relay carries the frames of sessions between a client and a backend,
// from the moment both handshakes are done until both connections are closed, and
// ends each session with one cause. The spine (internal/proxy) starts sessions and
// finds other backends for them; internal/app closes and moves them by requests.
// The package doesn't dial, does no handshakes, and knows no pools.
//
// It has three layers:
//
//   - A record is the state of one session: plain data of a fixed size, without
//     pointers. It makes the decisions. It gets the bytes that one side sent and
//     returns those to write to the other (pass, passMoving). Ends of connections
//     and timeouts are reported to it (eof, lose, unwritable, expired). It returns
//     what must be done: frames of our own (inject), the end of a stream, the time
//     of its timer (due), the next step of a move (nextStep). phase.go has the
//     phases of a move.
//   - The driver carries that out, in the same way for both engines: driver.go for
//     all sessions, search.go for those that are being moved.
//   - An engine has the connections and implements the interface connections.
//     Epoll, on Linux, keeps records in slabs, so that an idle session costs
//     nothing else. Portable uses goroutines and runs on every system.
//
// Reading belongs to the engines, since it is the hot path on Linux: io_linux.go
// reads many sockets into one buffer, and splice_linux.go passes the payload of
// large frames on without reading it. The driver is called directly there, and
// calls its engine three times for each read.
//
// To find the code of a behaviour:
//
//	record.go       bytes pass through: frames, pings, counts
//	summary.go      what is reported of a session
//	inject.go       frames of our own, between those that pass
//	deadline.go     timers: keepalive, idle, lifetime, closing, the limits of a move
//	ending.go       the first Close, end of stream, violation or loss
//	closetext.go    the text of a Close that a peer sent, for the log
//	reasons.go      the texts of our own Closes
//	requests.go     requests to close or move; oldest.go chooses the oldest sessions
//	phase.go        the phases of a move, and why nothing is lost
//	move.go         the state of a move, and what begins it
//	opaque.go       sessions without frames: other upgrades, and layer 4
//	probes.go       their keepalive, which is TCP's
//	timeouts.go     the timeouts of all sessions, by number
//	boundary.go     where the client is paused, and what the old backend's Close means
//	queue.go        the turn of a session, and its retries after a loss
//	search.go       the search for a backend, and the swap
//	notice.go       leave and begin, and their answers
//	probation.go    a new backend that rejects the session
//	io_linux.go     epoll: reading and writing, and when a side isn't read
//	io_portable.go  the same for the portable engine
//	limits.go       limits of a live session: what its client sends, and slow sides
//	budget.go       how much a client may still send
//	backlog.go      epoll: the bytes that a socket didn't take; backlog_portable.go likewise
//	tls_linux.go    epoll: sides that speak TLS
//	tlserrors.go    why a session was lost by its TLS, for the log
//
// A side whose bytes pass through the record layer of TLS concerns the engines alone.
// Epoll opens records between its read and driver.carry, and seals them in
// connections.send before it keeps what the socket doesn't take (tls_linux.go). So
// side.pending is about sealed bytes, in the order in which they were sealed. The state
// of a connection is beside the record, by slot: a session without TLS has none.
// Portable gets such a side as a net.Conn. Epoll refuses connections with any other layer
// on their socket.
//
// A session of opaque bytes (layer 4) concerns the record alone, see opaque.go. It
// passes all bytes unwalked, is not movable, and ends streams where another one sends a
// Close.
package relay
