package doctor

import (
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// TestTLS: wss with certificates that are and aren't accepted, of both sides.
func TestTLS(t *testing.T) {
	serve := func(config *tls.Config) (address string) {
		kit := backend.New(backend.Options{Log: slog.New(slog.DiscardHandler)})
		s := httptest.NewUnstartedServer(kit.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, err := websocket.Accept(w, r, nil); err == nil {
				conn.Read(r.Context())
				conn.CloseNow()
			}
		})))
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // hides the errors about refused certificates
		if s.TLS = config; config != nil {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	ca := testca.New(t)
	showing := func(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS}} }
	good, named, expired := serve(showing(ca.Issue("127.0.0.1"))), serve(showing(ca.Issue("chat.internal"))), serve(showing(ca.Expired("127.0.0.1")))
	wants := showing(ca.Issue("127.0.0.1"))
	wants.ClientAuth, wants.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	mutual, plain := serve(wants), serve(nil)
	cert, key := ca.Issue("doctor").Files()
	for _, c := range []struct {
		name, address string
		o             Options
		found, advice string // "" is nothing to fix
	}{
		{"trusted", good, Options{CA: ca.File()}, "", ""},
		{"named", named, Options{CA: ca.File(), ServerName: "chat.internal"}, "", ""},
		{"mutual", mutual, Options{CA: ca.File(), Cert: cert, Key: key}, "", ""},
		{"not verified", expired, Options{Insecure: true}, "", ""},
		{"unknown authority", good, Options{}, "TLS: failed to verify certificate: x509: certificate signed by unknown authority", "--ca"},
		{"another name", named, Options{CA: ca.File()}, "TLS: failed to verify certificate: x509: ", "--server-name"},
		{"expired", expired, Options{CA: ca.File()}, "TLS: failed to verify certificate: x509: certificate has expired", "renew"},
		{"wants a certificate", mutual, Options{CA: ca.File()}, `TLS: it ended the connection with the alert "certificate required"`, "--cert and --key"},
		{"plain", plain, Options{}, "TLS: it answered without TLS", "ws://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.URL, c.o.Health, c.o.Idle, c.o.NoReattach = "wss://"+c.address+"/ws", "/health", time.Millisecond, true
			r, err := Examine(t.Context(), c.o)
			if err != nil {
				t.Fatal(err)
			}
			first := r.Checks[0]
			switch toFix, _ := results(r); {
			case c.found == "" && len(toFix) > 0:
				t.Error(text(r))
			case c.found != "" && (!strings.HasPrefix(first.Found, c.found) || !strings.Contains(first.Advice, c.advice)):
				t.Errorf("it says %q, %q", first.Found, first.Advice)
			}
		})
	}
}

func TestTLSOptions(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Issue("doctor").Files()
	_, other := ca.Issue("doctor").Files()
	for want, o := range map[string]Options{
		"--ca: open /nowhere":             {CA: "/nowhere"},
		"there is no certificate in it":   {CA: key},
		"give both":                       {Cert: cert},
		"private key does not match":      {Cert: cert, Key: other},
		"--cert and --key are for wss://": {URL: "ws://localhost", Cert: cert, Key: key},
	} {
		if o.URL == "" {
			o.URL = "wss://localhost"
		}
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
