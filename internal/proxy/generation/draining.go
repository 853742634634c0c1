package generation

import (
	"bytes"
	"iter"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// takeDraining takes the i-th member although it drains, for a client whose cookie
// names it. Until the end of the drain, whatever belongs to a session of that
// backend must stay there: a handshake that says so, and plain HTTP, since it can't be
// told what belongs to a session (long polling does). A request that is known to begin
// one goes elsewhere: it is mostly that of a client whose session the drain has closed,
// and would be closed again at its end, together with all others.
func (p *Pool) takeDraining(i int, r requestkey.Request) (balance.Choice, bool) {
	_, plain := r.(PlainRequest)
	if plain && beginsSession(r.Path(), r.Query()) || !plain && !joinsSession(r.Query()) {
		return balance.Choice{}, false
	}
	return p.takeKept(i)
}

// takeKept takes the i-th member if it keeps its clients until the end of a drain.
func (p *Pool) takeKept(i int) (balance.Choice, bool) {
	b := p.Picker.Members()[i].Backend
	if !b.KeepsClients() {
		return balance.Choice{}, false
	}
	addr, ok := b.Addr()
	if !ok || !b.TryAcquire() {
		return balance.Choice{}, false
	}
	return balance.Choice{Backend: b, Index: i, Addr: addr}, true
}

// tokenSize is the length of SignalR's connection tokens: 16 bytes in base64url.
const tokenSize = 22

// joinsSession reports whether a handshake is the second transport of a session
// that was begun by plain HTTP. Engine.IO (Socket.IO) then sends
// transport=websocket and the session's sid; SignalR sends the id that it got
// from its negotiation.
func joinsSession(query []byte) bool {
	websocket, sid := false, false
	for name, value := range parameters(query) {
		switch name {
		case "transport":
			websocket = value == "websocket"
		case "sid":
			sid = value != ""
		case "id":
			if len(value) == tokenSize {
				return true
			}
		}
	}
	return websocket && sid
}

// beginsSession reports whether plain HTTP is the first request of a session: a poll of
// Engine.IO that has its version, EIO, but no sid yet, or a negotiation of SignalR.
func beginsSession(path, query []byte) bool {
	if bytes.HasSuffix(path, []byte("/negotiate")) {
		return true
	}
	version, sid := false, false
	for name, value := range parameters(query) {
		version = version || name == "EIO"
		sid = sid || name == "sid" && value != ""
	}
	return version && !sid
}

// parameters are those of a query, as they were received.
func parameters(query []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(query) > 0 {
			var pair []byte
			pair, query, _ = bytes.Cut(query, []byte{'&'})
			name, value, _ := bytes.Cut(pair, []byte{'='})
			if !yield(string(name), string(value)) {
				return
			}
		}
	}
}
