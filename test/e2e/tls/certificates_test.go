//go:build unix

package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// file is a configuration whose listener has tls, in YAML.
func file(engine, tls string, backends ...string) string {
	text := kit.Settings{Engine: engine, Backends: backends}.YAML()
	_, rest, _ := strings.Cut(text, "\n")
	return fmt.Sprintf("listeners: [{name: public, address: \"127.0.0.1:0\", tls: {%s}}]\n%s", tls, rest)
}

// certificates is the key of that name.
func certificates(pairs ...*testca.Pair) string {
	var list []string
	for _, p := range pairs {
		cert, key := p.Files()
		list = append(list, fmt.Sprintf("{cert: %q, key: %q}", cert, key))
	}
	return "certificates: [" + strings.Join(list, ", ") + "]"
}

// dial opens a session and sends a message, which must come back. It returns what the
// TLS handshake has agreed on.
func dial(t testing.TB, address, path string, c *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	tr := &http.Transport{TLSClientConfig: c}
	defer tr.CloseIdleConnections()
	ws, resp, err := websocket.Dial(ctx, "wss://"+address+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, text, err := ws.Read(ctx); err != nil || !strings.Contains(string(text), "hello") {
		return tls.ConnectionState{}, fmt.Errorf("got %q, %w", text, err)
	}
	return *resp.TLS, ws.Close(websocket.StatusNormalClosure, "")
}

// mustDial is dial without an error.
func mustDial(t testing.TB, address string, c *tls.Config) tls.ConnectionState {
	t.Helper()
	cs, err := dial(t, address, "/echo", c)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// replace renames the files of p to those of the pair that the balancer has.
func replace(t testing.TB, cert, key string, p *testca.Pair) {
	t.Helper()
	newCert, newKey := p.Files()
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificatesAreSwapped: a new certificate and a bad one while sessions talk. New
// clients get the new one, a bad one changes nothing, and no session notices.
func TestCertificatesAreSwapped(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	// One engine after the other: with both, and what the sessions say, a machine with two
	// processors that others use too is so busy that this process needs more than the 10 s
	// of timeouts.handshake for its part of a handshake, and the balancer closes the
	// connection (EOF).
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		sessions := kit.UnlessBenching(200, 2000)
		backends := kit.StartBackends(t, 2)
		cert, key := ca.Issue("first.example", "127.0.0.1").Files()
		b := kit.StartBalancer(t, file(engine, fmt.Sprintf("certificates: [{cert: %q, key: %q}]", cert, key), backends[0].Address, backends[1].Address)+
			"timeouts: {handshake: 2m}\n")
		how := kit.DefaultBehaviour
		how.TLS = &tls.Config{RootCAs: ca.Pool()}
		c := kit.StartCrowdWith(t, "member", b.Address, sessions, how)
		b.AwaitSessions(t, sessions)
		swap := func(p *testca.Pair, msg string) {
			t.Helper()
			before, began := b.Stderr.Position(), time.Now()
			replace(t, cert, key, p)
			b.FindLog(t, msg, before)
			kit.AtMost(t, "until a change of the file is logged", time.Since(began), 5*time.Second)
			until := c.Received() + int64(sessions)
			testkit.Eventually(t, "messages", func() bool { return c.Received() >= until })
		}
		name := func() string {
			t.Helper()
			conn, err := tls.Dial("tcp", b.Address, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
		}
		swap(ca.Issue("second.example", "127.0.0.1"), "certificate file replaced")
		if got := name(); got != "second.example" {
			t.Errorf("a new client gets the certificate of %s", got)
		}
		swap(ca.Expired("third.example", "127.0.0.1"), "certificate file can't be used; what was read before stays in use")
		if got := name(); got != "second.example" {
			t.Errorf("after a bad swap a new client gets the certificate of %s", got)
		}
		// A reload warns of that file, and goes on with what is in use.
		if out := b.Command(t, 0, "reload"); !strings.Contains(out, "has expired at") || !strings.Contains(out, "what was read before stays in use") {
			t.Errorf("the reload says %s", out)
		}
		if got := name(); got != "second.example" {
			t.Errorf("after the reload a new client gets the certificate of %s", got)
		}
		series := fmt.Sprintf("holdfast_certificate_file_error{cert=%q,name=\"second.example\"}", cert)
		if m := b.Metrics(t); m[series] != 1 {
			t.Errorf("%s is %v", series, m[series])
		}
		if out := b.Command(t, 0, "status"); !strings.Contains(out, "second.example 127.0.0.1") || !strings.Contains(out, "still the one before:") {
			t.Errorf("the status is %s", out)
		}
		swap(ca.Issue("fourth.example", "127.0.0.1"), "certificate file replaced")
		c.FinishAll(t)
		at := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		for _, member := range c.Members {
			kit.CheckComplete(f, member, at[member.ID])
		}
		f.Sum("sessions")
		b.Stop(t)
	})
}

// TestNodeBackend: a client of coder/websocket by TLS 1.2 and 1.3, and a server of
// Node's ws, which is told that the client speaks TLS.
func TestNodeBackend(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	server := kit.StartNodeServer(t)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, file(engine, certificates(ca.Issue("127.0.0.1")), server.Address))
		for version, word := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
			before := b.Stderr.Position()
			if cs := mustDial(t, b.Address, &tls.Config{RootCAs: ca.Pool(), MaxVersion: version}); cs.Version != version {
				t.Errorf("the version is %s", tls.VersionName(cs.Version))
			}
			e := b.FindLog(t, "session open", before)
			if e["tls"] != word || e["resumed"] != false || e["server_name"] != "" {
				t.Errorf("the log has %v", e)
			}
		}
		if m := b.Metrics(t); m[`holdfast_tls_handshakes_total{result="ok",resumed="false",version="1.2"}`] != 1 || m[`holdfast_tls_handshakes_total{result="ok",resumed="false",version="1.3"}`] != 1 {
			t.Errorf("the metrics are %v", m)
		}
		b.Stop(t)
	})
}

// TestBrokenTLS: a session whose client sends a damaged record ends, and its line says why.
func TestBrokenTLS(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	backends := kit.StartBackends(t, 1)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		b := kit.StartBalancer(t, file(engine, certificates(ca.Issue("127.0.0.1")), backends[0].Address))
		conn, err := tls.Dial("tcp", b.Address, &tls.Config{RootCAs: ca.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		w := wspeer.NewClient(conn)
		if _, err := w.Handshake(b.Address, "/echo", nil); err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn.NetConn(), "\x17\x03\x03\x00\x20 these are not the bytes of any record")
		b.FindLog(t, "session closed", 0, "cause=client_lost", "tls_error=client: a record can't be decrypted (bad_record_mac)")
		if _, err := w.Message(); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
			t.Errorf("the client sees %v", err)
		}
		b.Stop(t)
	})
}

// TestNames: certificates by SNI, and strict_sni.
func TestNames(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	backends := kit.StartBackends(t, 1)
	list := certificates(ca.Issue("first.example"), ca.Issue("*.second.example"))
	b := kit.StartBalancer(t, file("auto", list, backends[0].Address))
	strict := kit.StartBalancer(t, file("auto", list+", strict_sni: true", backends[0].Address))
	for name, want := range map[string]string{"first.example": "first.example", "a.second.example": "*.second.example", "third.example": ""} {
		for _, b := range []*kit.Balancer{b, strict} {
			conn, err := tls.Dial("tcp", b.Address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			switch {
			case err != nil && (b != strict || want != "" || !strings.Contains(err.Error(), "unrecognized name")):
				t.Errorf("%s: %v", name, err)
			case err == nil && b == strict && want == "":
				t.Errorf("%s is accepted", name)
			}
			if err != nil {
				continue
			}
			got := conn.ConnectionState().PeerCertificates[0].DNSNames[0]
			conn.Close()
			if want != "" && got != want || want == "" && got != "first.example" {
				t.Errorf("%s gets the certificate of %s", name, got)
			}
		}
	}
	strict.FindLog(t, "handshake refused", 0, "result=tls_failed", "server_name=third.example")
}

// TestClientCertificates: client_auth required and optional.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, clients := testca.New(t), testca.New(t)
	backends := kit.StartBackends(t, 1)
	mutual := certificates(ca.Issue("127.0.0.1")) + fmt.Sprintf(", client_ca: %q", clients.File())
	without := &tls.Config{RootCAs: ca.Pool()}
	with := without.Clone()
	with.Certificates = []tls.Certificate{clients.Issue("me").TLS}
	wrong := without.Clone()
	wrong.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ca.Issue("you").TLS, nil }
	for _, auth := range []string{"required", "optional"} {
		b := kit.StartBalancer(t, file("auto", mutual+", client_auth: "+auth, backends[0].Address))
		mustDial(t, b.Address, with)
		if _, err := dial(t, b.Address, "/echo", without); (err != nil) != (auth == "required") {
			t.Errorf("%s: without a certificate: %v", auth, err)
		}
		if _, err := dial(t, b.Address, "/echo", wrong); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
			t.Errorf("%s: with a wrong certificate: %v", auth, err)
		}
	}
}

// TestBadCertificate: run ends with an error that says where and what to do, and check
// says the same. For one that has expired, only check ends with an error.
func TestBadCertificate(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	good, other := ca.Issue("a.example"), ca.Issue("b.example")
	mixed := *good
	mixed.Key = other.Key
	nameless := ca.IssueLike(func(c *x509.Certificate) { c.DNSNames = nil }, "a.example")
	for _, tt := range []struct {
		pair *testca.Pair
		want string
	}{
		{ca.Expired("a.example"), "has expired at"},
		{&mixed, "the private key doesn't belong to the certificate"},
		{nameless, "the certificate has no names"},
	} {
		path := filepath.Join(t.TempDir(), "holdfast.yaml")
		if err := os.WriteFile(path, []byte(file("auto", certificates(tt.pair), "127.0.0.1:9")), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"run", "check"} {
			if command == "run" && strings.Contains(tt.want, "expired") {
				b := kit.StartBalancer(t, file("auto", certificates(tt.pair), "127.0.0.1:9"))
				b.FindLog(t, "certificate has expired; clients reject it", 0, "names=a.example")
				conn, err := tls.Dial("tcp", b.Address, &tls.Config{InsecureSkipVerify: true})
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				b.Stop(t)
				continue
			}
			p := kit.StartHoldfast(t, command, "-c", path)
			status := p.Wait(t, testkit.Patience)
			if got := p.Stderr.String(); status == 0 || !strings.Contains(got, tt.want) || command == "check" && !strings.Contains(got, "holdfast.yaml:1:") {
				t.Errorf("%s, want %q: exit status %d, %s", command, tt.want, status, got)
			}
		}
	}
}
