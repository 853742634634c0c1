package certs_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// inMemory is p without files.
func inMemory(name string, p *testca.Pair) certs.Pair {
	return certs.Pair{Cert: name, Key: name, InMemory: true, CertText: string(p.Cert), KeyText: string(p.Key)}
}

// TestInMemory: certificates that a program has are used like those of files. The same
// text again is the same certificate, and another one replaces it at once.
func TestInMemory(t *testing.T) {
	var log testkit.Log
	ca := testca.New(t)
	first, second := ca.Issue("first.example"), ca.Issue("second.example")
	w := certs.New(certs.Options{Log: log.Logger("msg", "cert", "names", "client_ca")})
	defer w.Close()
	use := func(p *testca.Pair, clientCA string) *certs.Store {
		t.Helper()
		stores, err := w.Load([]certs.Spec{{
			Pairs:    []certs.Pair{inMemory("Secret a/tls", p)},
			ClientCA: certs.CAFile{Path: "ConfigMap a/ca", InMemory: true, Text: clientCA},
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.Use(stores)
		return stores[0]
	}
	get := func(s *certs.Store) *tls.Certificate {
		t.Helper()
		c, err := s.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := use(first, string(ca.PEM))
	again := use(first, string(ca.PEM))
	if a, b := get(one), get(again); a != b || a.Leaf.DNSNames[0] != "first.example" || one.ClientCAs() != again.ClientCAs() {
		t.Errorf("got %p and %p", a, b)
	}
	if all := w.Certificates(); len(all) != 1 || all[0].File != "Secret a/tls" || all[0].Problem != "" {
		t.Errorf("the certificates are %+v", all)
	}
	log.Take() // it expires soon
	other := use(second, string(testca.New(t).PEM))
	if got := get(other).Leaf.DNSNames[0]; got != "second.example" || one.ClientCAs().Sum == other.ClientCAs().Sum {
		t.Errorf("got %s", got)
	}
	if got := log.Take(); !strings.HasPrefix(got, `msg="certificate replaced" cert="Secret a/tls" names=second.example`) {
		t.Errorf("the log has %q", got)
	}
	if _, err := w.Load([]certs.Spec{{ClientCA: certs.CAFile{Path: "ConfigMap a/ca", InMemory: true}}}); err == nil || err.Error() != `"ConfigMap a/ca": it is empty` {
		t.Errorf("an empty authority: %v", err)
	}
	if err := certs.CheckCA(certs.CAFile{Path: "x", InMemory: true, Text: string(ca.PEM)}); err != nil {
		t.Error(err)
	}
}

// TestGivenNames: a certificate with given names is for these only, whatever names are in
// it. Of several for one name, those whose own names fit come first.
func TestGivenNames(t *testing.T) {
	ca := testca.New(t)
	issue := func(name string, names ...string) certs.Pair {
		return inMemory(name, ca.Issue(append([]string{name}, names...)...))
	}
	type row struct {
		p     certs.Pair
		given []string
	}
	load := func(strict bool, rows ...row) *certs.Store {
		t.Helper()
		spec := certs.Spec{Strict: strict}
		for _, r := range rows {
			spec.Pairs, spec.Names = append(spec.Pairs, r.p), append(spec.Names, r.given)
		}
		s, _ := load(t, certs.Options{}, spec)
		return s
	}
	evil := row{issue("evil", "good.example", "a.wild.example"), []string{"evil.example"}}
	good := row{issue("good"), []string{"good.example"}}
	wide := row{issue("wide"), []string{"*.wild.example"}}
	deep := row{issue("deep"), []string{"*.deep.wild.example"}}
	rest := row{issue("rest"), []string{"*"}}
	own := row{p: issue("own", "own.example", "*.own.example")}
	two := []row{{issue("two-a", "a.two.example"), []string{"*.two.example"}}, {issue("two-b", "b.two.example"), []string{"*.two.example"}}}
	all := append([]row{evil, good, wide, deep, rest, own}, two...)
	for _, tt := range []struct {
		rows   []row
		name   string
		want   string
		strict string
	}{
		{all, "good.example", "good", "good"},
		{all, "evil.example", "evil", "evil"},
		{all, "a.wild.example", "wide", "wide"},
		{all, "a.b.wild.example", "wide", "wide"},
		{all, "a.deep.wild.example", "deep", "deep"},
		{all, "wild.example", "rest", "rest"},
		{all, "own.example", "own", "own"},
		{all, "a.own.example", "own", "own"},
		{all, "a.b.own.example", "rest", "rest"},
		{all, "a.two.example", "two-a", "two-a"},
		{all, "b.two.example", "two-b", "two-b"},
		{all, "c.two.example", "two-a", "two-a"},
		{all, "", "rest", "rest"},
		{all, "example", "rest", "rest"},
		{[]row{evil, good}, "", "evil", ""},
		{[]row{evil, good}, "other.example", "evil", ""},
		{[]row{evil, good}, "good.example.", "good", "good"},
		{[]row{wide}, "other.example", "wide", ""},
		{two, "a.example", "two-a", ""},
	} {
		t.Run(fmt.Sprint(len(tt.rows), tt.name), func(t *testing.T) {
			for strict, want := range map[bool]string{false: tt.want, true: tt.strict} {
				if got := nameOf(t, load(strict, tt.rows...), &tls.ClientHelloInfo{ServerName: tt.name}); got != want {
					t.Errorf("strict %v: got the certificate of %q, want %q", strict, got, want)
				}
			}
		})
	}
}
