package proxy_test

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// TestDeclinedSlowly: the head of a plain answer reaches the client before its
// body, and the body as it comes, for longer than a handshake may take. It ends
// when the client leaves.
func TestDeclinedSlowly(t *testing.T) {
	const piece = "not yet "
	for name, framing := range map[string]struct{ head, piece, end string }{
		"without a length": {"", piece, ""},
		"in chunks":        {"Transfer-Encoding: chunked\r\n", "8\r\n" + piece + "\r\n", "0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				const limit = 2 * time.Second
				seen, closed := make(chan bool), make(chan error, 2)
				server := newBackend(t, func(p *peer, _ string) {
					io.WriteString(p, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n"+framing.head+"\r\n")
					for range seen {
						io.WriteString(p, framing.piece)
					}
					io.WriteString(p, framing.end)
					if framing.end != "" {
						return
					}
					_, err := io.Copy(io.Discard, p.br)
					closed <- err
					p.Close()
				})
				b := start(t, engine, setup{backends: []string{server.addr}, handshake: limit})
				c := b.dial().send(upgrade("/"))
				resp, err := http.ReadResponse(c.br, nil)
				if err != nil || resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != "Basic" {
					t.Fatalf("got %v, %v", resp, err)
				}
				got := make([]byte, len(piece))
				for began := time.Now(); time.Since(began) < 2*limit; time.Sleep(time.Millisecond) {
					c.SetDeadline(time.Now().Add(patience))
					seen <- true
					if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
						t.Fatalf("read %q, %v", got, err)
					}
				}
				close(seen)
				if framing.end != "" {
					if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
						t.Errorf("at the end, read %q, %v", rest, err)
					}
					c.wantEnd()
				} else {
					c.Close()
					select {
					case <-closed:
					case <-time.After(30 * time.Second):
						t.Error("the client has left, and the backend's connection is still open")
					}
				}
				b.wantResult("backend_declined")
				_, heads := server.seen()
				b.waitLog("id=" + field(t, heads[0], "Holdfast-Session"))
			})
		})
	}
}
