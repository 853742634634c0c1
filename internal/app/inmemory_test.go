package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

func pemOf(name string, p *testca.Pair) *config.PEM {
	return &config.PEM{Name: name, Cert: []byte(string(p.Cert)), Key: []byte(string(p.Key))} // other bytes at each call
}

// TestCertificatesInMemory: a listener and a pool have certificates that a program gives.
// A reload with the same ones keeps ticket keys; others count at once; those that can't
// be used change nothing.
func TestCertificatesInMemory(t *testing.T) {
	ca := testca.New(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for answerOne(r, c, "tls") {
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue("chat.internal").TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	server.StartTLS()
	t.Cleanup(server.Close)

	listener, own := ca.Issue("chat.example"), ca.Issue("balancer")
	f := startFed(t, "auto", nil) // nothing to ask yet
	listen := func(p *config.PEM) {
		f.change = func(c *config.Config) {
			s := &config.ListenerTLS{Certificates: []config.Certificate{{Data: p}}, ClientCAData: &config.PEM{Name: "ConfigMap default/ca", Cert: ca.PEM}}
			s.SetDefaults()
			s.HTTP2 = false
			c.Listeners[0].TLS = s
			c.Pools[0].TLS = &config.PoolTLS{CAData: &config.PEM{Name: "ConfigMap default/ca", Cert: ca.PEM}, CertData: pemOf("Secret default/client", own), SANs: []string{"chat.internal"}}
		}
	}
	reload := func() {
		t.Helper()
		if _, err := f.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	f.set(member("a", strings.TrimPrefix(server.URL, "https://")))
	listen(pemOf("Secret default/tls", listener))
	reload()
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "chat.example", Certificates: []tls.Certificate{own.TLS}, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	dial := func() *x509.Certificate {
		t.Helper()
		c, state := dialTLS(t, f.Addresses()[0], client)
		talk(t, c, "hello")
		if state.DidResume {
			return nil
		}
		return state.PeerCertificates[0]
	}
	if c := dial(); c == nil || c.DNSNames[0] != "chat.example" {
		t.Errorf("got %v", c)
	}
	reload() // with the same text
	if c := dial(); c != nil {
		t.Error("a reload with the same certificates has other ticket keys")
	}
	if s := f.Status(); len(s.Certificates) != 1 || s.Certificates[0].Cert != "Secret default/tls" || s.Certificates[0].Problem != "" {
		t.Errorf("status %+v", s.Certificates)
	}

	listen(pemOf("Secret default/tls", ca.Issue("other.example")))
	reload()
	client.ServerName = "other.example"
	if c := dial(); c == nil || c.DNSNames[0] != "other.example" {
		t.Errorf("got %v", c)
	}
	bad := pemOf("Secret default/bad", listener)
	bad.Key = own.Key
	listen(bad)
	if _, err := f.Reload(); err == nil || !strings.HasPrefix(err.Error(), `listeners[0].tls.certificates[0].key: "Secret default/bad": the private key doesn't belong to the certificate in`) {
		t.Errorf("reload: %v", err)
	}
	if err := app.CheckPEM(bad); err == nil || !strings.HasPrefix(err.Error(), `"Secret default/bad": the private key doesn't belong`) {
		t.Errorf("check: %v", err)
	}
	client.ClientSessionCache = nil
	dial()
	if err := app.CheckPEM(pemOf("x", listener)); err != nil {
		t.Error(err)
	}
	if err := app.CheckCAPEM(&config.PEM{Name: "ConfigMap a/b", Cert: []byte("x")}); err == nil || !strings.HasPrefix(err.Error(), `"ConfigMap a/b": it is not in PEM`) {
		t.Errorf("check of authorities: %v", err)
	}
	if err := app.CheckCAPEM(&config.PEM{Name: "ConfigMap a/b", Cert: ca.PEM}); err != nil {
		t.Error(err)
	}
}
