package backendtls

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFiles: each file that can't be used has an error with its key and what to do.
func TestFiles(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Issue("balancer").Files()
	_, otherKey := ca.Issue("other").Files()
	both := write(t, string(ca.Issue("balancer").Cert)+string(ca.Issue("balancer").Key))
	for _, c := range []struct {
		name string
		o    Options
		want []string // nothing means that it is fine
	}{
		{"system", Options{}, nil},
		{"all", Options{CA: ca.File(), Cert: cert, Key: key, ServerName: "x"}, nil},
		{"no file", Options{CA: "/nowhere/ca.pem"}, []string{"pools.chat.tls.ca", `"/nowhere/ca.pem"`, "no such file"}},
		{"a folder", Options{CA: t.TempDir()}, []string{"pools.chat.tls.ca", "is a directory"}},
		{"empty", Options{CA: write(t, "")}, []string{"pools.chat.tls.ca", "there is no certificate in it", "BEGIN CERTIFICATE"}},
		{"a key as the CA", Options{CA: key}, []string{"there is no certificate in it"}},
		{"text around it", Options{CA: write(t, "Subject: x\n"+string(ca.PEM)+"\nend")}, nil},
		{"broken", Options{CA: write(t, string(ca.PEM)+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")},
			[]string{"the certificate after line 11 is broken"}},
		{"another key", Options{Cert: cert, Key: otherKey}, []string{"pools.chat.tls.cert", "does not match"}},
		{"no key", Options{Cert: cert}, []string{"pools.chat.tls.cert", "private key"}},
		{"both in one, of two pairs", Options{Cert: both}, []string{"does not match"}},
		{"no key file", Options{Cert: cert, Key: "/nowhere/key.pem"}, []string{"pools.chat.tls.key", `"/nowhere/key.pem"`}},
		{"in memory", Options{CA: "ConfigMap a/b", CAText: string(ca.PEM)}, nil},
		{"in memory, no PEM", Options{CA: "ConfigMap a/b", CAText: "x"}, []string{`pools.chat.tls.ca: "ConfigMap a/b": there is no certificate in it`}},
		{"in memory, no key", Options{Cert: "Secret a/c", CertText: string(ca.PEM)}, []string{`pools.chat.tls.cert: the certificate "Secret a/c"`, "private key"}},
		{"too large", Options{CA: write(t, strings.Repeat("x", maxFile+1))}, []string{"more than 8 MiB"}},
	} {
		c.o.Pool = "chat"
		_, err := New(c.o, nil)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q doesn't say %q", c.name, err, want)
			}
		}
	}
}

// TestUnchanged: a reload keeps the client, with its sessions, if nothing has
// changed.
func TestUnchanged(t *testing.T) {
	ca := testca.New(t)
	pair := ca.Issue("balancer")
	cert, key := pair.Files()
	o := Options{Pool: "chat", CA: ca.File(), Cert: cert, Key: key}
	first, err := New(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := New(o, first); err != nil || again != first {
		t.Errorf("it was made again: %v", err)
	}
	if c := first.Certificate(); c == nil || c.NotAfter.Sub(pair.NotAfter).Abs() > time.Second {
		t.Errorf("its certificate is %v, want one that expires at %v", c, pair.NotAfter)
	}
	named := o
	named.ServerName = "chat.internal"
	if other, err := New(named, first); err != nil || other == first {
		t.Errorf("it was kept with another name: %v", err)
	}
	renewed := ca.Issue("balancer")
	for path, text := range map[string][]byte{cert: renewed.Cert, key: renewed.Key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if other, err := New(o, first); err != nil || other == first {
		t.Errorf("it was kept with a renewed certificate: %v", err)
	}
	memory := Options{Pool: "chat", CA: "a", CAText: string(ca.PEM), SANs: []string{"x"}}
	first, _ = New(memory, nil)
	memory.CAText, memory.SANs = string(ca.PEM), []string{"x"}
	if again, err := New(memory, first); err != nil || again != first {
		t.Errorf("with the same in memory it was made again: %v", err)
	}
	for what, change := range map[string]func(o *Options){
		"certificates": func(o *Options) { o.CAText = string(testca.New(t).PEM) },
		"names":        func(o *Options) { o.SANs = []string{"y"} },
	} {
		changed := memory
		change(&changed)
		if other, err := New(changed, first); err != nil || other == first {
			t.Errorf("it was kept with other %s in memory: %v", what, err)
		}
	}
	plain, _ := New(Options{}, nil)
	if plain.Certificate() != nil {
		t.Error("one without a certificate has one")
	}
}

// TestNames: which name a certificate must have, and how many are kept.
func TestNames(t *testing.T) {
	for host, want := range map[string]string{
		"chat.internal": "chat.internal", "chat.internal.": "chat.internal",
		"10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::1", "fe80::1%eth0": "fe80::1",
	} {
		plain, named := Client{}, Client{options: Options{ServerName: "one.example."}}
		if got := plain.nameOf(host); got != want {
			t.Errorf("%s has %q, want %q", host, got, want)
		}
		if got := named.nameOf(host); got != "one.example" {
			t.Errorf("%s has %q with a server_name", host, got)
		}
	}
}
