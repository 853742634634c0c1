package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// tlsFile is a configuration with a listener that has tls.
func tlsFile(address, tls, backend string) string {
	return fmt.Sprintf("listeners: [{name: public, address: %q%s}]\npools: {main: {backends: [{name: a, address: %q}]}}\n", address, tls, backend)
}

func certificates(cert, key string) string {
	return fmt.Sprintf(", tls: {certificates: [{cert: %q, key: %q}]}", cert, key)
}

// dialTLS opens a session and returns it with what its TLS handshake has agreed on.
func dialTLS(t *testing.T, address string, c *tls.Config) (*websocket.Conn, tls.ConnectionState) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	tr := &http.Transport{TLSClientConfig: c}
	t.Cleanup(tr.CloseIdleConnections)
	ws, resp, err := websocket.Dial(ctx, "wss://"+address+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatalf("%v (%v)", err, resp)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws, *resp.TLS
}

// talk sends a message, and wants it back.
func talk(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(ctx); err != nil || !strings.Contains(string(got), text) {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestTLSReloads: sessions and ticket keys survive reloads; certificates that can't be
// used are an error that changes nothing; a listener can get TLS, and lose it.
func TestTLSReloads(t *testing.T) {
	ca := testca.New(t)
	server := backend(t, "a")
	cert, key := ca.Issue("first.example", "127.0.0.1").Files()
	_, wrongKey := ca.Issue("other.example").Files()
	expired, expiredKey := ca.Expired("127.0.0.1").Files()
	address := testkit.FreeAddress(t) // a reload must find the same listener
	b := start(t, tlsFile(address, certificates(cert, key), server))
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "first.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	session, facts := dialTLS(t, address, client)
	talk(t, session, "before")
	if facts.DidResume {
		t.Error("the first session was resumed")
	}
	b.mustReload(tlsFile(address, certificates(cert, key), server))
	if again, facts := dialTLS(t, address, client); !facts.DidResume {
		t.Error("a reload threw the ticket keys away")
	} else {
		again.CloseNow()
	}
	_, err := b.reload(tlsFile(address, certificates(cert, wrongKey), server))
	var bad config.Errors
	if !errors.As(err, &bad) || len(bad) != 1 || bad[0].Path != "listeners[0].tls.certificates[0].key" || !strings.Contains(bad[0].Msg, "doesn't belong") {
		t.Errorf("a key of another certificate: %v", err)
	}
	if _, facts := dialTLS(t, address, client); !facts.DidResume {
		t.Error("a failed reload has changed something")
	}
	// One that has expired is used if it is all that there is, with a warning.
	both := strings.Replace(certificates(cert, key), "}]", fmt.Sprintf("}, {cert: %q, key: %q}]", expired, expiredKey), 1)
	if warnings, err := b.reload(tlsFile(address, both, server)); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "has expired at") {
		t.Errorf("an expired certificate: %q, %v", warnings, err)
	}
	b.mustReload(tlsFile(address, "", server))
	open(t, "ws://"+address+"/")
	b.mustReload(tlsFile(address, certificates(cert, key), server))
	dialTLS(t, address, client)
	talk(t, session, "after")

	// A new certificate is used without a reload.
	second := ca.Issue("second.example", "127.0.0.1")
	secondCert, secondKey := second.Files()
	for from, to := range map[string]string{secondCert: cert, secondKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	b.log.Find(t, "line about the new certificate", 0, func(line string) bool {
		return strings.Contains(line, `"msg":"certificate file replaced"`) && strings.Contains(line, `"names":"second.example 127.0.0.1"`)
	})
	client.ServerName = "second.example"
	dialTLS(t, address, client)
	talk(t, session, "after the swap")

	s := b.Status()
	if len(s.Certificates) != 1 || s.Certificates[0].Names[0] != "second.example" || s.Certificates[0].Cert != cert || s.Certificates[0].DaysLeft < .8 || s.Certificates[0].DaysLeft > 1 {
		t.Errorf("the status has %+v", s.Certificates)
	}
	if line := b.log.Find(t, "line of the session", 0, func(line string) bool { return strings.Contains(line, "session open") }); !strings.Contains(line,
		`"tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","server_name":"first.example","resumed":false`) {
		t.Errorf("the line is %s", line)
	}
}

// TestTLSAtStart: a certificate that can't be used keeps the balancer from starting, and
// check says the same. For one that has expired only check has an error.
func TestTLSAtStart(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Issue("a.example").Files()
	_, other := ca.Issue("b.example").Files()
	expired, expiredKey := ca.Expired("old.example").Files()
	soon, soonKey := ca.IssueLike(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-60*24*time.Hour), time.Now().Add(24*time.Hour)
	}, "a.example").Files()
	for _, tt := range []struct {
		name, tls  string
		path, want string // of the error
		warning    bool
	}{
		{"good", certificates(cert, key), "", "", false},
		{"no TLS", "", "", "", false},
		{"expired", certificates(expired, expiredKey), "listeners[0].tls.certificates[0].cert", "has expired at", false},
		{"another key", certificates(cert, other), "listeners[0].tls.certificates[0].key", "doesn't belong to the certificate", false},
		{"no client_ca", fmt.Sprintf(", tls: {client_ca: %q, certificates: [{cert: %q, key: %q}]}", key, cert, key), "listeners[0].tls.client_ca", "no certificate", false},
		{"expires soon", certificates(soon, soonKey), "listeners[0].tls.certificates[0].cert", "expires at", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := t.TempDir() + "/holdfast.yaml"
			if err := os.WriteFile(file, []byte(tlsFile("127.0.0.1:0", tt.tls, "127.0.0.1:9")), 0o600); err != nil {
				t.Fatal(err)
			}
			load := func() (*config.Config, error) { return yaml.Load(file) }
			c, err := load()
			if err != nil {
				t.Fatal(err)
			}
			errs, warnings := app.CheckFiles(c)
			found := append(errs, warnings...)
			if tt.want == "" {
				if len(found) > 0 {
					t.Errorf("got %v", found)
				}
			} else if len(found) != 1 || len(warnings) == 1 != tt.warning || string(found[0].Path) != tt.path || !strings.Contains(found[0].Msg, tt.want) {
				t.Errorf("got %v and %v, want %q", errs, warnings, tt.want)
			}
			var log testkit.Log
			a, err := app.Start(app.Options{Load: load, File: file, LogTo: &log})
			if (err != nil) != (len(errs) > 0 && tt.name != "expired") {
				t.Errorf("check says %v, the start %v", errs, err)
			}
			if err == nil {
				a.Shutdown(context.Background()) // after that, all lines are written
			}
			if log := log.String(); strings.Contains(log, "certificate has expired; clients reject it") != (tt.name == "expired") {
				t.Errorf("the log has %s", log)
			}
			if tt.warning && !log.Contains("certificate expires soon") {
				t.Errorf("the log has %s", log.String())
			}
		})
	}
}
