package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// load makes a Store that its Watcher uses, and the Watcher.
func load(t testing.TB, o certs.Options, spec certs.Spec) (*certs.Store, *certs.Watcher) {
	t.Helper()
	w := certs.New(o)
	t.Cleanup(w.Close)
	stores, err := w.Load([]certs.Spec{spec})
	if err != nil {
		t.Fatal(err)
	}
	w.Use(stores)
	return stores[0], w
}

// pairOf writes the files of p.
func pairOf(p *testca.Pair) certs.Pair {
	cert, key := p.Files()
	return certs.Pair{Cert: cert, Key: key}
}

// nameOf is the first name of the certificate that a hello gets; "" for none.
func nameOf(t testing.TB, s *certs.Store, hello *tls.ClientHelloInfo) string {
	t.Helper()
	c, err := s.GetCertificate(hello)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return ""
	}
	return c.Leaf.DNSNames[0]
}

// TestChooseByName: exact names come before wildcards, which are for one label, and
// the first certificate is for the rest.
func TestChooseByName(t *testing.T) {
	ca := testca.New(t)
	pairs := []certs.Pair{pairOf(ca.Issue("first.example")), pairOf(ca.Issue("*.b.example", "b.example")), pairOf(ca.Issue("Exact.b.example")),
		pairOf(ca.Issue("*.exact.b.example"))}
	lenient, _ := load(t, certs.Options{}, certs.Spec{Pairs: pairs})
	strict, _ := load(t, certs.Options{}, certs.Spec{Pairs: pairs, Strict: true})
	for _, tt := range []struct{ name, want, strict string }{
		{"", "first.example", ""},
		{"first.example", "first.example", "first.example"},
		{"FIRST.Example.", "first.example", "first.example"},
		{"b.example", "*.b.example", "*.b.example"},
		{"x.b.example", "*.b.example", "*.b.example"},
		{"x.y.b.example", "first.example", ""},
		{"exact.b.example", "Exact.b.example", "Exact.b.example"},
		{"x.exact.b.example", "*.exact.b.example", "*.exact.b.example"},
		{"other.example", "first.example", ""},
		{"example", "first.example", ""},
		{".b.example", "*.b.example", "*.b.example"},
		{strings.Repeat("x", 1000) + "\x00\n", "first.example", ""},
	} {
		hello := &tls.ClientHelloInfo{ServerName: tt.name}
		if got := nameOf(t, lenient, hello); got != tt.want {
			t.Errorf("%q gets the certificate of %q, want %q", tt.name, got, tt.want)
		}
		if got := nameOf(t, strict, hello); got != tt.strict {
			t.Errorf("strict: %q gets the certificate of %q, want %q", tt.name, got, tt.strict)
		}
	}
}

// TestChooseByKey: of two certificates for a name, a client gets the first whose key
// it supports, also if it asks for another name or for none.
func TestChooseByKey(t *testing.T) {
	rs := must(rsa.GenerateKey(rand.Reader, 2048))
	cert, key := byHand(t, rs, "a.example")
	ecCert, ecKey := byHand(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), "a.example")
	dir := t.TempDir()
	ec := certs.Pair{Cert: write(t, dir, "ec.pem", append(ecCert, ecKey...))}
	r := certs.Pair{Cert: write(t, dir, "rsa.pem", append(cert, key...))}
	for _, pairs := range [][]certs.Pair{{ec, r}, {r, ec}} {
		s, _ := load(t, certs.Options{}, certs.Spec{Pairs: pairs})
		for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} {
			for _, name := range []string{"a.example", "other.example", ""} {
				left, right := net.Pipe()
				done := make(chan error, 1)
				go func() {
					defer right.Close()
					done <- tls.Server(right, &tls.Config{GetCertificate: s.GetCertificate}).Handshake()
				}()
				client := tls.Client(left, &tls.Config{ServerName: name, InsecureSkipVerify: true, CipherSuites: []uint16{suite}, MaxVersion: tls.VersionTLS12})
				if err := client.Handshake(); err != nil {
					t.Errorf("%s, %q: %v", tls.CipherSuiteName(suite), name, err)
				}
				left.Close()
				<-done
			}
		}
	}
}

// source is a certs.Source.
type source struct {
	certs     atomic.Pointer[[]*tls.Certificate]
	challenge *tls.Certificate
}

func (s *source) Certificates() []*tls.Certificate {
	if all := s.certs.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *source) ChallengeCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, bool) {
	return s.challenge, slices.Equal(h.SupportedProtos, []string{"acme-tls/1"})
}

// TestSource: a Store has the certificates of a Source for its own domains, and
// answers challenges.
func TestSource(t *testing.T) {
	ca := testca.New(t)
	src := &source{}
	s, w := load(t, certs.Options{Source: src}, certs.Spec{Domains: []string{"a.example"}})
	hello := &tls.ClientHelloInfo{ServerName: "a.example"}
	if c, err := s.GetCertificate(hello); c != nil || err == nil || !strings.Contains(err.Error(), "no certificate yet") {
		t.Errorf("before there is a certificate: %v, %v", c, err)
	}
	mine, others := ca.Issue("a.example"), ca.Issue("b.example")
	src.certs.Store(&[]*tls.Certificate{&others.TLS, &mine.TLS})
	w.Refresh()
	for name, want := range map[string]string{"a.example": "a.example", "b.example": "a.example", "": "a.example"} {
		if got := nameOf(t, s, &tls.ClientHelloInfo{ServerName: name}); got != want {
			t.Errorf("%q gets the certificate of %q, want %q", name, got, want)
		}
	}
	if all := w.Certificates(); len(all) != 2 || all[0].File != certs.FromSource {
		t.Errorf("the certificates are %+v", all)
	}
	hello.SupportedProtos = []string{"acme-tls/1"}
	if c, err := s.GetCertificate(hello); c != nil || err == nil {
		t.Errorf("without a challenge: %v, %v", c, err)
	}
	src.challenge = &others.TLS
	if got := nameOf(t, s, hello); got != "b.example" {
		t.Errorf("a challenge gets the certificate of %q", got)
	}
}

// TestSelfSigned: a client that trusts the self-signed certificate accepts it, and
// another Load keeps it.
func TestSelfSigned(t *testing.T) {
	s, w := load(t, certs.Options{}, certs.Spec{SelfSigned: true})
	c, err := s.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "[::1]"} {
		if err := c.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	again, err := w.Load([]certs.Spec{{SelfSigned: true}})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := again[0].GetCertificate(&tls.ClientHelloInfo{}); d != c || err != nil {
		t.Errorf("another Load made another certificate, %v", err)
	}
	if all := w.Certificates(); len(all) != 1 || all[0].File != certs.InMemory || all[0].Key != "ECDSA P-256" {
		t.Errorf("the certificates are %+v", all)
	}
	for name, want := range map[string]bool{"host": true, "host-1.example": true, "": false, "hö": false, "a..b": false, ".a": false, "a b": false, filepath.Join("a", "b"): false} {
		if certs.IsHostName(name) != want {
			t.Errorf("%q is a host name: %t", name, !want)
		}
	}
}

// TestChooseByTime: of two certificates for a name, a client gets the one that is valid,
// although the other is the first. If none is valid, it gets the first.
func TestChooseByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that it can become so while they are in use
		ca := testca.New(t)
		until := func(d time.Duration, name string) certs.Pair {
			return pairOf(ca.IssueLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(d) }, "a.example", name))
		}
		s, w := load(t, certs.Options{Log: slog.New(slog.DiscardHandler)}, certs.Spec{Pairs: []certs.Pair{until(time.Hour, "first"), until(3*time.Hour, "second")}})
		hello := &tls.ClientHelloInfo{ServerName: "a.example", SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}}
		for _, want := range []string{"first", "second", "first"} {
			for _, name := range []string{"a.example", "other.example"} { // by name, and for the rest
				hello.ServerName = name
				c, err := s.GetCertificate(hello)
				if err != nil || c.Leaf.DNSNames[1] != want {
					t.Errorf("%s: %v, %v, want the %s", name, c.Leaf.DNSNames, err, want)
				}
			}
			time.Sleep(2 * time.Hour)
		}
		w.Close()
	})
}
