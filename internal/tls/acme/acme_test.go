//go:build unix

package acme

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/pebble"
)

func TestTLSALPN(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "ws.example.com")})
	n.use(t, p, t.TempDir(), false, "WS.example.com")
	c := n.wait(t, "ws.example.com")
	n.check(t, p, "ws.example.com")
	if n.answered.Load() == 0 || n.changes.Load() == 0 || len(n.Lacking()) != 0 {
		t.Errorf("%d challenges answered, %d changes, lacking %q", n.answered.Load(), n.changes.Load(), n.Lacking())
	}
	if _, isRSA := c.PrivateKey.(interface{ Size() int }); isRSA {
		t.Error("the key is an RSA key, which is slow")
	}
	// The challenge is over.
	for _, name := range []string{"ws.example.com", "other.example.com"} {
		if _, err := tls.Dial("tcp", n.tls.Addr().String(), &tls.Config{ServerName: name, NextProtos: []string{TLSALPNProtocol}, InsecureSkipVerify: true}); err == nil {
			t.Errorf("a challenge for %s is answered that nobody has made", name)
		}
	}
}

// TestProfile orders a certificate of another kind than usual.
func TestProfile(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "ws.example.com"), ShortLived: true})
	use := func(profile, storage string) {
		plan, err := NewPlan([]Use{{Account{Directory: p.Directory, CA: p.CA, Storage: storage, Profile: profile}, []string{"ws.example.com"}}}, false)
		if err != nil {
			t.Fatal(err)
		}
		n.Apply(plan)
	}
	use("shortlived", t.TempDir())
	c := n.wait(t, "ws.example.com").Leaf
	if valid := c.NotAfter.Sub(c.NotBefore); valid > 7*24*time.Hour {
		t.Errorf("the certificate is valid for %v, want 6 days", valid)
	}
	use("everlasting", t.TempDir())
	n.log.Find(t, "line about the profile", 0, func(l string) bool {
		return strings.Contains(l, "unknown profile name 'everlasting'") && strings.Contains(l, "acme.profile")
	})
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	// Where TLS-ALPN-01 fails, HTTP-01 is tried.
	p := pebble.Start(t, pebble.Options{HTTPPort: port(n.http), DNS: names(t, "a.example.com", "b.example.com")})
	n.use(t, p, t.TempDir(), true, "a.example.com", "b.example.com", "A.example.com")
	for _, name := range []string{"a.example.com", "b.example.com"} {
		n.wait(t, name)
		n.check(t, p, name)
	}
	if n.answered.Load() == 0 {
		t.Error("no challenge was answered")
	}
	for _, url := range []string{"http://" + n.http.Addr().String() + "/.well-known/acme-challenge/x", "http://" + n.http.Addr().String() + "/"} {
		resp, err := http.Get(url)
		if err != nil || resp.StatusCode != 404 {
			t.Errorf("%s: %v, %v", url, resp, err)
		} else {
			resp.Body.Close()
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestShared has two balancers with one storage. One gets the certificate. The
// authority asks only the other.
func TestShared(t *testing.T) {
	t.Parallel()
	storage := t.TempDir()
	a, b := newNode(t), newNode(t)
	for _, kind := range []string{"TLS-ALPN-01", "HTTP-01"} {
		name := strings.ToLower(kind) + ".example.com"
		o := pebble.Options{DNS: names(t, name)}
		if kind == "HTTP-01" {
			o.HTTPPort = port(b.http)
		} else {
			o.TLSPort = port(b.tls)
		}
		p := pebble.Start(t, o)
		before := b.answered.Load()
		for _, n := range []*node{a, b} {
			n.use(t, p, storage, kind == "HTTP-01", name)
		}
		if x, y := a.wait(t, name), b.wait(t, name); !x.Leaf.Equal(y.Leaf) {
			t.Errorf("%s: the balancers have different certificates", kind)
		}
		if got := orders(p); got != 1 {
			t.Errorf("%s: %d certificates were issued, want 1", kind, got)
		}
		if b.answered.Load() == before {
			t.Errorf("%s: the balancer that was asked has not answered", kind)
		}
		a.check(t, p, name)
	}
	if left, err := filepath.Glob(filepath.Join(storage, "acme", "*", "challenges", "*")); len(left) > 0 || err != nil {
		t.Errorf("challenges are left: %q, %v", left, err)
	}
}

// TestDirectoryIsDown starts while there is no directory, then restarts without one.
func TestDirectoryIsDown(t *testing.T) {
	t.Parallel()
	storage := filepath.Join(t.TempDir(), "a", "b")
	n := newNode(t)
	p := pebble.New(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "ws.example.com")})
	n.use(t, p, storage, false, "ws.example.com")
	line := n.log.Find(t, "line about the directory", 0, func(l string) bool { return strings.Contains(l, "no certificate by ACME") })
	if !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "check acme.directory") || !strings.Contains(line, "domain=ws.example.com") {
		t.Errorf("the log has %s", line)
	}
	if got := n.Lacking(); len(got) != 1 || got[0] != "ws.example.com" {
		t.Errorf("lacking %q", got)
	}
	p.Start(t)
	n.wait(t, "ws.example.com") // without a reload
	n.check(t, p, "ws.example.com")
	root := p.Root(t)
	p.Kill(t)

	again := newNode(t)
	again.use(t, p, storage, false, "ws.example.com")
	c, err := tls.Dial("tcp", again.tls.Addr().String(), &tls.Config{ServerName: again.wait(t, "ws.example.com").Leaf.DNSNames[0], RootCAs: root})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestLostAccount restarts Pebble, which then has forgotten the account.
func TestLostAccount(t *testing.T) {
	t.Parallel()
	storage := t.TempDir()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "a.example.com", "b.example.com")})
	n.use(t, p, storage, false, "a.example.com")
	first := n.wait(t, "a.example.com")
	p.Kill(t)
	p.Start(t)
	n.use(t, p, storage, false, "a.example.com", "b.example.com")
	n.wait(t, "b.example.com")
	n.check(t, p, "b.example.com")
	if c := n.of("a.example.com"); c == nil || !c.Leaf.Equal(first.Leaf) {
		t.Error("a domain that stays has lost its certificate")
	}
	n.use(t, p, storage, false, "b.example.com")
	if n.of("a.example.com") != nil || n.of("b.example.com") == nil {
		t.Error("a domain that was removed has a certificate, or one that stays has none")
	}
	n.Apply(&Plan{})
	if len(n.Certificates()) != 0 {
		t.Error("certificates are left without ACME")
	}
}

// TestChallengeFails has an authority that can't reach the domain.
func TestChallengeFails(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{DNS: names(t, "ws.example.com")})
	n.use(t, p, t.TempDir(), true, "ws.example.com", "unknown.example.com")
	for name, want := range map[string]string{
		"ws.example.com":      "port 80 of the domain must lead to a listener of this balancer",
		"unknown.example.com": "DNS records",
	} {
		line := n.log.Find(t, "line about "+name, 0, func(l string) bool {
			return strings.Contains(l, "no certificate by ACME") && strings.Contains(l, "domain="+name)
		})
		if !strings.Contains(line, want) || strings.Contains(line, "see the authority's documentation") {
			t.Errorf("%s: the log has %s", name, line)
		}
	}
	if got := n.Lacking(); len(got) != 2 {
		t.Errorf("lacking %q", got)
	}
}

// TestARI lets the authority suggest a renewal although the certificate is new. A
// server between the two makes the balancer ask for suggestions every second, where
// Pebble wants six hours.
func TestARI(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "ws.example.com")})
	var replaces, asked atomic.Int32
	target := &url.URL{Scheme: "https", Host: p.Address}
	pool, err := readRoots(p.CA)
	if err != nil {
		t.Fatal(err)
	}
	transport := newHTTPClient(pool).Transport.(*http.Transport)
	defer transport.CloseIdleConnections()
	between := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host // the Host stays, so that URLs lead here
			if body, err := io.ReadAll(r.In.Body); err == nil {
				var jws struct{ Payload string }
				json.Unmarshal(body, &jws)
				if text, _ := base64.RawURLEncoding.DecodeString(jws.Payload); strings.Contains(string(text), `"replaces"`) {
					replaces.Add(1)
				}
				r.Out.Body = io.NopCloser(strings.NewReader(string(body)))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if strings.Contains(r.Request.URL.Path, "renewalInfo") {
				asked.Add(1)
				r.Header.Set("Retry-After", "1")
			}
			return nil
		},
	})
	between.StartTLS()
	defer between.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(between.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	n.useDirectory(t, between.URL+"/dir", ca, t.TempDir(), false, "ws.example.com")
	first := n.wait(t, "ws.example.com")
	p.SuggestRenewal(t, first.Leaf, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	testkit.Eventually(t, "another certificate", func() bool {
		(*n.managers.Load())[0].look() // it would do so after ten minutes
		c := n.of("ws.example.com")
		return c != nil && !c.Leaf.Equal(first.Leaf)
	})
	n.check(t, p, "ws.example.com")
	if replaces.Load() == 0 || asked.Load() == 0 {
		t.Errorf("asked for suggestions %d times, %d orders say what they replace", asked.Load(), replaces.Load())
	}
}

// TestShortLived renews certificates that are valid for seconds.
func TestShortLived(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	p := pebble.Start(t, pebble.Options{TLSPort: port(n.tls), DNS: names(t, "ws.example.com"), Validity: 20 * time.Second})
	n.use(t, p, t.TempDir(), false, "ws.example.com")
	first := n.wait(t, "ws.example.com")
	testkit.Eventually(t, "another certificate", func() bool {
		c := n.of("ws.example.com")
		return c != nil && !c.Leaf.Equal(first.Leaf)
	})
	if time.Now().After(first.Leaf.NotAfter) {
		t.Error("the certificate was renewed after its end")
	}
	n.log.Find(t, "line about the renewal", 0, func(l string) bool {
		return strings.Contains(l, "certificate obtained by ACME") && strings.Contains(l, "renewal=true")
	})
}
