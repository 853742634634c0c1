//go:build unix

package proxied

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"
	goproxyproto "github.com/pires/go-proxyproto"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// backend sends messages back, and answers other requests with its name. It remembers
// what it was asked.
type backend struct {
	name, address string

	mu    sync.Mutex // guards the following
	asked []ask
}

type ask struct{ path, client, forwardedFor, agent string }

// serve starts a backend on ln. Its connections must begin with a header of the PROXY
// protocol if proxied is true.
func serve(t testing.TB, name string, ln net.Listener, proxied bool) *backend {
	t.Helper()
	b := &backend{name: name, address: ln.Addr().String()}
	if ln.Addr().Network() == "unix" {
		b.address = "unix:" + b.address
	}
	if proxied {
		ln = &goproxyproto.Listener{Listener: ln, ReadHeaderTimeout: testkit.Patience}
	}
	server := &http.Server{Handler: b}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return b
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.asked = append(b.asked, ask{r.URL.Path, r.RemoteAddr, r.Header.Get("X-Forwarded-For"), r.UserAgent()})
	b.mu.Unlock()
	if r.Header.Get("Upgrade") == "" {
		io.WriteString(w, b.name)
		return
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	for {
		kind, text, err := ws.Read(context.Background())
		if err != nil || ws.Write(context.Background(), kind, text) != nil {
			return
		}
	}
}

// of lists what was asked for a path.
func (b *backend) of(path string) (all []ask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.asked {
		if a.path == path {
			all = append(all, a)
		}
	}
	return all
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func listenUnix(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", testkit.SocketPath(t))
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
