package backend

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

// isHandshake reports whether r is a WebSocket handshake according to RFC 6455
// §4.2.1. The library checks whether it is a valid one.
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken reports whether a list, which may be spread over several fields,
// contains token.
func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for element := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(element), token) {
				return true
			}
		}
	}
	return false
}

// isCheck reports whether the handshake is a health check of holdfast. Clients
// behind holdfast can't pretend to be one, because it adds a session ID to all
// their handshakes.
func isCheck(r *http.Request) bool {
	return r.UserAgent() == "holdfast-health" && r.Header.Get(headerSession) == ""
}

// retryAfter returns a random number of seconds from 5 to 30, like holdfast
// itself.
func retryAfter() string { return strconv.Itoa(5 + rand.IntN(26)) }
