package generation

import (
	"bytes"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// takeDraining takes the i-th member although it drains, for a client whose cookie
// names it. Until the end of the drain, whatever belongs to a session of that
// backend must stay there: a handshake that says so, and all plain HTTP, since it
// can't be told what belongs to a session (long polling does).
func (p *Pool) takeDraining(i int, r requestkey.Request) (balance.Choice, bool) {
	if _, plain := r.(PlainRequest); !plain && !joinsSession(r.Query()) {
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
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		name, value, _ := bytes.Cut(pair, []byte{'='})
		switch string(name) {
		case "transport":
			websocket = string(value) == "websocket"
		case "sid":
			sid = len(value) > 0
		case "id":
			if len(value) == tokenSize {
				return true
			}
		}
	}
	return websocket && sid
}
