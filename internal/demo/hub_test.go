package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const testTimeout = 20 * time.Second

func newHub(t *testing.T) *hub {
	t.Helper()
	h, err := startHub("secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

// hubPeer speaks to a hub as a server does.
type hubPeer struct {
	t    *testing.T
	conn net.Conn
	in   *json.Decoder
}

func dialHub(t *testing.T, h *hub, line string) *hubPeer {
	t.Helper()
	conn, err := net.Dial("tcp", h.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testTimeout))
	if _, err := fmt.Fprintln(conn, line); err != nil {
		t.Fatal(err)
	}
	return &hubPeer{t, conn, json.NewDecoder(bufio.NewReader(conn))}
}

func (p *hubPeer) post(key string) {
	p.t.Helper()
	if err := json.NewEncoder(p.conn).Encode(post{Key: key, Name: "n", Text: "text " + key}); err != nil {
		p.t.Fatal(err)
	}
}

// batch returns the next batch's IDs and keys as "1 a 2 b".
func (p *hubPeer) batch() string {
	p.t.Helper()
	var b batch
	if err := p.in.Decode(&b); err != nil {
		p.t.Fatal(err)
	}
	var s []string
	for _, m := range b.Messages {
		s = append(s, fmt.Sprintf("%d %s", m.ID, m.Key))
	}
	return strings.Join(s, " ")
}

func (p *hubPeer) want(batches ...string) {
	p.t.Helper()
	for _, want := range batches {
		if got := p.batch(); got != want {
			p.t.Fatalf("batch %q, want %q", got, want)
		}
	}
}

func TestHubNumbersSharesAndResumes(t *testing.T) {
	h := newHub(t)
	a := dialHub(t, h, `{"token":"secret","server":"a"}`)
	b := dialHub(t, h, `{"token":"secret","server":"b"}`)
	a.want("")
	b.want("")
	a.post("x")
	a.want("1 x")
	b.want("1 x")
	b.post("y")
	b.post("x") // sent twice: through another server, as after a reconnect
	b.post("z")
	a.want("2 y", "3 z")
	b.want("2 y", "3 z")
	dialHub(t, h, `{"token":"secret","server":"c","after":1}`).want("2 y 3 z")
	dialHub(t, h, `{"token":"secret","server":"d","after":9}`).want("")
}

func TestHubKeepsOutWhoHasNoToken(t *testing.T) {
	h := newHub(t)
	for _, line := range []string{
		`{"token":"wrong"}`, `{"token":""}`, `{}`, `secret`, "GET / HTTP/1.1", strings.Repeat("x", maxHubLine+1),
	} {
		p := dialHub(t, h, line)
		// A reset is as good as EOF: the hub need not read all of a long line.
		if n, err := p.conn.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
			t.Errorf("%.40q: read %d, %v; want the end of the connection", line, n, err)
		}
	}
	// Those who are in get nothing of it.
	a := dialHub(t, h, `{"token":"secret","server":"a"}`)
	a.want("")
	a.post("x")
	a.want("1 x")
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

func TestHubForgetsOldKeysOnly(t *testing.T) {
	h := newHub(t)
	for i := range seenKeys + 1 {
		h.take("s", post{Key: fmt.Sprint(i)})
	}
	h.take("s", post{Key: fmt.Sprint(seenKeys)}) // known
	h.take("s", post{Key: "1"})                  // the oldest known
	if h.lastID != seenKeys+1 {
		t.Fatalf("%d messages, want %d", h.lastID, seenKeys+1)
	}
	if len(h.seen) != seenKeys || len(h.seenKeys) != seenKeys || len(h.history.messages) != historySize {
		t.Fatalf("%d and %d keys, %d messages are kept", len(h.seen), len(h.seenKeys), len(h.history.messages))
	}
}

// A server that does not read is disconnected rather than waited for.
func TestHubDropsServerThatLags(t *testing.T) {
	h := newHub(t)
	front, back := net.Pipe()
	defer back.Close()
	lagging := &hubServer{name: "lagging", conn: front, queue: make(chan message, hubQueue)}
	h.join(lagging, 0)
	defer h.leave(lagging)
	for i := range hubQueue + 1 {
		h.take("s", post{Key: fmt.Sprint(i)})
	}
	_ = back.SetDeadline(time.Now().Add(testTimeout))
	if _, err := back.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the connection: %v, want EOF", err)
	}
}
