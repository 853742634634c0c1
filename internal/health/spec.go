package health

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Spec says how the backends of a pool are checked. All kinds that are set
// must pass for a backend to be up.
type Spec struct {
	HTTP      *HTTP
	WebSocket *WebSocket
	TCP       bool // a connect is enough
	Agent     *Agent

	Interval time.Duration // from the begin of a check to that of the next; 0 means 10 s
	Timeout  time.Duration // of each check as a whole, connect and all; 0 means 2 s
	Fall     int           // failures in a row that take a backend down; 0 means 3
	Rise     int           // passes in a row that take it back; 0 means 2
}

// HTTP is a check by one request.
type HTTP struct {
	Path   string // with a query, if any; "" means /
	Method string // "" means GET
	Host   string // "" means the backend's address as configured
	Header [][2]string
	Expect []StatusRange // none means 200-299
}

// StatusRange is a range of HTTP statuses, both ends within.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// WebSocket is a check by a whole session: an upgrade, something sent,
// something awaited, a closing handshake.
type WebSocket struct {
	Path        string // with a query, if any; "" means /
	Host        string // "" means the backend's address as configured
	Header      [][2]string
	Subprotocol string // offered, and to be accepted; "" means none
	// Send and Expect are "ping" and "pong" for a ping frame and its pong; so
	// they are where both, or the other one, are "". Anything else is of text
	// messages: Send is sent, a message that begins with Expect must come,
	// and "" is nothing.
	Send, Expect string
}

// pings tells that the check is a ping and its pong.
func (w *WebSocket) pings() bool {
	return (w.Send == "" || w.Send == "ping") && (w.Expect == "" || w.Expect == "pong")
}

// Agent is a program beside the backend, on its IP address, that speaks
// HAProxy's agent-check protocol.
type Agent struct {
	Port int
	Send string // written after the connect, as it is; "" for nothing
}

// Equal tells whether both say the same.
func (s Spec) Equal(o Spec) bool { return reflect.DeepEqual(s, o) }

// Active tells whether there is anything to check.
func (s Spec) Active() bool { return s.HTTP != nil || s.WebSocket != nil || s.TCP || s.Agent != nil }

func (s Spec) withDefaults() Spec {
	s.Interval = cmp.Or(s.Interval, 10*time.Second)
	s.Timeout = cmp.Or(s.Timeout, 2*time.Second)
	s.Fall = cmp.Or(s.Fall, 3)
	s.Rise = cmp.Or(s.Rise, 2)
	return s
}

// quick is the interval where an answer is waited for: sessions could go to a
// backend that is warming as soon as its checks have passed.
func (s Spec) quick() time.Duration { return min(s.Interval, time.Second) }

// kind is a kind of check. A Spec has at most one of each.
type kind uint8

const (
	kindHTTP kind = iota
	kindWebSocket
	kindTCP
	kindAgent
	kinds int = iota
)

func (s Spec) has(k kind) bool {
	return [kinds]bool{s.HTTP != nil, s.WebSocket != nil, s.TCP, s.Agent != nil}[k]
}

// label names a check in reasons and log lines.
func (s Spec) label(k kind) string {
	switch k {
	case kindHTTP:
		return "http check " + cmp.Or(s.HTTP.Path, "/")
	case kindWebSocket:
		return "websocket check " + cmp.Or(s.WebSocket.Path, "/")
	case kindTCP:
		return "tcp check"
	default:
		return fmt.Sprintf("agent check on port %d", s.Agent.Port)
	}
}

// wanted tells whether the status passes, and in words which do.
func (h *HTTP) wanted(status int) (ok bool, words string) {
	expect := h.Expect
	if len(expect) == 0 {
		expect = []StatusRange{{200, 299}}
	}
	texts := make([]string, len(expect))
	for i, r := range expect {
		if r.From <= status && status <= r.To {
			return true, ""
		}
		texts[i] = r.String()
	}
	return false, strings.Join(texts, ", ")
}
