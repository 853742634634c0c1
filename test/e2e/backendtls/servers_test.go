//go:build unix

package backendtls

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// server is a Go server that echoes WebSocket messages and answers plain HTTP with
// its name. It counts TLS handshakes.
type server struct {
	address          string
	all, resumed     atomic.Int64
	requests, checks atomic.Int64 // of plain HTTP
}

// start starts a server; config nil is one without TLS.
func start(t *testing.T, name string, config *tls.Config) *server {
	s := &server{}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			if s.requests.Add(1); r.URL.Path == "/health" {
				s.checks.Add(1)
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %d", name, len(body))
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		peer, err := wspeer.Accept(conn, buffered.Reader, r)
		for err == nil {
			var text string
			if text, err = peer.Message(); err == nil {
				err = peer.SendText(text)
			}
		}
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	if config == nil {
		h.Start()
	} else {
		config.VerifyConnection = func(c tls.ConnectionState) error {
			s.all.Add(1)
			if c.DidResume {
				s.resumed.Add(1)
			}
			return nil
		}
		h.TLS = config
		h.StartTLS()
	}
	t.Cleanup(h.Close)
	s.address = h.Listener.Addr().String()
	return s
}

// pools writes a configuration with a pool for each path.
type pools struct{ pools, routes strings.Builder }

func (p *pools) add(name, keys string, servers ...string) {
	fmt.Fprintf(&p.pools, "  %s:\n    %s\n    backends:\n", name, strings.ReplaceAll(keys, "\n", "\n    "))
	for i, address := range servers {
		fmt.Fprintf(&p.pools, "      - {name: %s, address: %q}\n", kit.BackendName(i), address)
	}
	fmt.Fprintf(&p.routes, "  - {match: {path: /%s}, pool: %s}\n", name, name)
}

func (p *pools) file(engine string) string {
	return fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\npools:\n%sroutes:\n%s", engine, &p.pools, &p.routes)
}

func showing(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS}} }

// startOpenSSL starts openssl s_server, and returns its address. args are further
// flags.
func startOpenSSL(t *testing.T, p *testca.Pair, args ...string) (address string) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("OpenSSL is missing: run scripts/setup-tests.sh")
	}
	cert, key := p.Files()
	cmd := exec.Command(program, append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key", key}, args...)...)
	cmd.Env = os.Environ()
	server := process.Start(t, "openssl", cmd)
	line := server.Stdout.Find(t, "ACCEPT", 0, func(line string) bool { return strings.HasPrefix(line, "ACCEPT ") })
	return strings.TrimPrefix(line, "ACCEPT ")
}

// open opens a session and closes it after an echo; it returns the status.
func open(t *testing.T, address, path string) (status int) {
	t.Helper()
	w, res, err := wspeer.Dial(address, path)
	if res == nil {
		t.Fatal(err)
	}
	if err != nil {
		return res.StatusCode
	}
	defer w.Close()
	if err := w.RoundTrip("hello"); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	w.SendClose(1000, "")
	return res.StatusCode
}

// get sends a plain GET on a connection of its own.
func get(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}
	res, err := client.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(all)
}
