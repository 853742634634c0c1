package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
)

// TestHTTP2: requests of an HTTP/2 connection go the way of all plain HTTP. Backends
// are told about the client in the same fields, and each request has its place.
func TestHTTP2(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		began, end := make(chan struct{}, 2), make(chan struct{})
		server := newBackend(t, func(p *peer, head string) {
			began <- struct{}{}
			<-end
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			p.Close()
		})
		b := start(t, engine, setup{
			backends: []string{server.addr}, maxSessions: 2, listener: transport.ListenerSpec{Name: "public"},
			tls:        &transport.TLS{Protocol: "h2"},
			clientCert: clientcert.New(map[string][]clientcert.Field{"public": {{Name: "Client-Verified", Fact: clientcert.Verified}}}),
		})
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		get := func() int {
			req, _ := http.NewRequest("GET", "http://"+b.addr+"/x", nil)
			req.Header.Set("X-Forwarded-Proto", "http")
			req.Header.Set("X-Forwarded-For", "6.6.6.6")
			req.Header.Set("Client_Verified", "true")
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return 0
			}
			defer res.Body.Close()
			io.Copy(io.Discard, res.Body)
			return res.StatusCode
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if status := get(); status != 200 {
					t.Errorf("status %d", status)
				}
			})
			<-began
		}
		if sessions := b.gate.Stats().Sessions; sessions != 2 {
			t.Errorf("they count as %d", sessions)
		}
		if status := get(); status != 503 {
			t.Errorf("one too many has status %d", status)
		}
		close(end)
		both.Wait()
		_, heads := server.seen()
		for _, head := range heads {
			got := [...]string{field(t, head, "X-Forwarded-Proto"), field(t, head, "X-Forwarded-For"), field(t, head, "Client-Verified"), field(t, head, "Host")}
			if want := [...]string{"https", "127.0.0.1", "false", b.addr}; got != want || strings.Contains(head, "Client_Verified") {
				t.Errorf("the backend was sent %q in\n%s", got, head)
			}
		}
	})
}
