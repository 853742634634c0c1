//go:build unix

package kit

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// Slack is how much a busy machine may add to a figure of time. Whether health
// checks are missed is tested by counting them.
const Slack = time.Second

// IsClosed reports whether err is a Close frame with code.
func IsClosed(err error, code int) bool {
	var c *wspeer.CloseError
	return errors.As(err, &c) && c.Code == code
}

// CheckComplete checks that the client ended the session in an orderly way, and
// that both sides got everything that the other sent.
func CheckComplete(f *Faults, m *Member, server Ending) {
	f.T.Helper()
	client := m.Ending
	switch {
	case client.Fault != "" || server.Fault != "":
		f.Add("%s: client %+v, server %+v", m.ID, client, server)
	case !client.Complete || !server.Complete || client.Code != 1000 || server.Code != 1000:
		f.Add("%s: not ended in order: client %+v, server %+v", m.ID, client, server)
	case client.Sent != server.Received || server.Sent != client.Received:
		f.Add("%s: numbers differ: client %+v, server %+v", m.ID, client, server)
	}
}

// CheckSentAway checks that the session was closed with 1001 because its backend
// was removed.
func CheckSentAway(f *Faults, m *Member, server Ending) {
	f.T.Helper()
	checkSentAway(f, m, server)
}

// CheckGoneAway checks that the session was closed with 1001 to both sides.
// Messages that the server sent after that can't arrive, but all messages of the
// client must.
func CheckGoneAway(f *Faults, m *Member, server Ending) {
	f.T.Helper()
	if client := m.Ending; checkSentAway(f, m, server) && server.Sent < client.Received {
		f.Add("%s: the server sent %d messages, the client got %d", m.ID, server.Sent, client.Received)
	}
}

func checkSentAway(f *Faults, m *Member, server Ending) (ok bool) {
	f.T.Helper()
	client := m.Ending
	switch {
	case client.Fault != "" || client.Code != 1001 || client.Reason != "going away":
		f.Add("%s: client %+v, want 1001 \"going away\"", m.ID, client)
	case server.Fault != "" || server.Code != 1001:
		f.Add("%s: server %+v, want 1001", m.ID, server)
	case client.Sent != server.Received:
		f.Add("%s: the client sent %d messages, the server got %d", m.ID, client.Sent, server.Received)
	default:
		return true
	}
	return false
}
