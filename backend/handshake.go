package backend

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

// enter takes a place for the handshake r, which leavePlace gives back, or
// says why there is none.
func (b *Backend) enter(r *http.Request) (p *place, refusal string) {
	check, moved := isCheck(r), Reattach(r).Reattached()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = b.asked || check
	switch {
	case b.phase == closing, b.phase == notifying && (check || moved):
		if check {
			b.told = true
			b.change()
		}
		return nil, "the server is draining"
	case check && b.checks < maxChecks:
		// One that is told 503 for want of a place would be taken for a drain,
		// and all sessions moved away.
		return take(&b.checks), ""
	case b.maxSessions > 0 && b.taken >= b.maxSessions:
		return nil, "the server has as many sessions as it takes"
	}
	return take(&b.taken), ""
}

// maxChecks bounds the health checks at a time that take no place, since where
// there is no holdfast anybody can say that they are one.
const maxChecks = 16

// isHandshake tells whether r asks for a WebSocket, RFC 6455 §4.2.1. Whether it
// does so in the right way is the library's to find out.
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken looks for a member of a list that may stand in several fields.
func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for member := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(member), token) {
				return true
			}
		}
	}
	return false
}

// isCheck tells whether the handshake is holdfast's health check. Clients of
// holdfast can't pass for one: all that comes from them has a session's id.
func isCheck(r *http.Request) bool {
	return r.UserAgent() == "holdfast-health" && r.Header.Get(headerSession) == ""
}

// retryAfter is 5 to 30 seconds, as holdfast's own.
func retryAfter() string { return strconv.Itoa(5 + rand.IntN(26)) }
