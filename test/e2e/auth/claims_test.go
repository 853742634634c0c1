//go:build unix

package auth

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// startNamed starts a backend that tells its name and who it was told is there: as plain
// HTTP, or as the first message of a WebSocket.
func startNamed(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told := fmt.Sprintf("%s %s", name, r.Header.Get("X-Who"))
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, told)
			return
		}
		conn, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if ws, err := wspeer.Accept(conn, in.Reader, r); err == nil {
			ws.SendText(told)
			ws.Message()
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestClaims: all devices of a user meet on one backend, by hash or by affinity, with
// WebSockets and plain HTTP; and backends get a claim in a header field of the route.
func TestClaims(t *testing.T) {
	for name, pool := range map[string]string{
		"hash":     "balance: hash, hash: {key: jwt:sub}",
		"affinity": "balance: round_robin, affinity: {token: {from: jwt:sub}}",
	} {
		t.Run(name, func(t *testing.T) {
			testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
				i := startIssuer(t)
				var backends []string
				for _, name := range []string{"a", "b", "c"} {
					backends = append(backends, fmt.Sprintf("{name: %s, address: %q}", name, startNamed(t, name)))
				}
				b := kit.StartBalancer(t, fmt.Sprintf(`
engine: %s
admin: {address: "127.0.0.1:0"}
listeners: [{address: "127.0.0.1:0"}]
routes:
  - pool: main
    auth: {jwt: {jwks_url: "%s/jwks", issuer: me, audience: chat, token: query:access_token, strip_token: true}}
    request_headers: {set: {X-Who: "the user ${claim.sub}"}}
pools:
  main: {%s, backends: [%s]}
`, engine, i.URL, pool, strings.Join(backends, ", ")))
				homes := map[string]bool{}
				for n := range 12 {
					user, home := fmt.Sprint("user", n), ""
					for device := range 4 {
						// Each has a token of its own.
						target := "/?access_token=" + i.token(t, user, time.Hour+time.Duration(device)*time.Minute)
						var told string
						if device%2 == 0 {
							res, err := http.Get("http://" + b.Address + target)
							if err != nil {
								t.Fatal(err)
							}
							body, _ := io.ReadAll(res.Body)
							res.Body.Close()
							told = string(body)
						} else {
							ws, _, err := wspeer.Dial(b.Address, target)
							if err != nil {
								t.Fatal(err)
							}
							defer ws.Close()
							if told, err = ws.Message(); err != nil {
								t.Fatal(err)
							}
						}
						backend, who, _ := strings.Cut(told, " ")
						if who != "the user "+user || home != "" && backend != home {
							t.Errorf("%s is told %q, and was at %q before", user, told, home)
						}
						home = backend
					}
					homes[home] = true
				}
				if len(homes) < 2 {
					t.Errorf("all users are at %v", homes)
				}
			})
		})
	}
}
