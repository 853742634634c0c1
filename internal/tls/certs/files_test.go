package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// write writes a file into dir.
func write(t testing.TB, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBadFiles: each way in which files can be wrong has an error that says in which
// file, and what to do.
func TestBadFiles(t *testing.T) {
	ca := testca.New(t)
	good, other, now := ca.Issue("a.example"), ca.Issue("b.example"), time.Now()
	issue := func(change func(*x509.Certificate)) *testca.Pair { return ca.IssueLike(change, "a.example") }
	expired := issue(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	early := issue(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })
	nameless := issue(func(c *x509.Certificate) { c.DNSNames = nil })
	client := issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	der, _ := pem.Decode(good.Cert)
	cut := good.Cert[:len(good.Cert)/2]
	p224Cert, p224Key := byHand(t, must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)))
	weakCert, weakKey := byHand(t, must(rsa.GenerateKey(rand.Reader, 1024)))
	dir := t.TempDir()
	for _, tt := range []struct {
		name      string
		cert, key []byte
		part      certs.Part
		want      string // in the error
	}{
		{"empty", nil, good.Key, certs.Cert, `cert.pem": it is empty`},
		{"no PEM", []byte("hello\n"), good.Key, certs.Cert, "nothing in it begins with -----BEGIN"},
		{"DER", der.Bytes, good.Key, certs.Cert, "openssl x509 -inform der"},
		{"cut off", join(good.Cert, cut), good.Key, certs.Cert, `cert.pem", line ` + lineAfter(good.Cert) + `: the PEM block that begins here is damaged or cut off`},
		{"indented", join([]byte("  "), good.Cert), good.Key, certs.Cert, `line 1: a PEM block must begin at the beginning of a line`},
		{"damaged", join([]byte("# a comment\n"), block("CERTIFICATE", []byte("x"))), good.Key, certs.Cert, `cert.pem", line 2: the certificate that begins here can't be read: malformed certificate`},
		{"a key as the certificate", good.Key, good.Key, certs.Cert, "there is a private key in it, but no certificate"},
		{"a request", block("CERTIFICATE REQUEST", []byte("x")), good.Key, certs.Cert, "this is a certificate request"},
		{"another block", block("PUBLIC KEY", []byte("x")), good.Key, certs.Cert, "there is no certificate in it"},
		{"a certificate as the key", good.Cert, good.Cert, certs.Key, `key.pem", line 1: there is no private key in it`},
		{"a damaged key", good.Cert, block("PRIVATE KEY", []byte("x")), certs.Key, "the private key that begins here can't be read"},
		{"a damaged EC key", good.Cert, block("EC PRIVATE KEY", []byte("x")), certs.Key, "the private key that begins here can't be read"},
		{"a damaged RSA key", good.Cert, block("RSA PRIVATE KEY", []byte("x")), certs.Key, "the private key that begins here can't be read"},
		{"a password", good.Cert, block("ENCRYPTED PRIVATE KEY", []byte("x")), certs.Key, "protected by a password"},
		{"an old kind of password", good.Cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}), certs.Key, "protected by a password"},
		{"another's key", good.Cert, other.Key, certs.Key, `key.pem": the private key doesn't belong to the certificate in`},
		{"no key in one file", good.Cert, nil, certs.Cert, "but no private key: add the key to it, or name the file that has it as key (--tls-key)"},
		{"the wrong order", join(ca.PEM, good.Cert), good.Key, certs.Cert, "the private key belongs to certificate 2 in it: put the server's own certificate first"},
		{"expired", expired.Cert, expired.Key, certs.Cert, `the certificate for "a.example" has expired at ` + expired.NotAfter.UTC().Format("2006-01-02T15:04")},
		{"not yet valid", early.Cert, early.Key, certs.Cert, "is the clock right?"},
		{"no names", nameless.Cert, nameless.Key, certs.Cert, "no names (subjectAltName)"},
		{"for clients", client.Cert, client.Key, certs.Cert, "lacks serverAuth"},
		{"P-224", p224Cert, p224Key, certs.Key, "the curve P-224 can't be used"},
		{"RSA with 1024 bits", weakCert, weakKey, certs.Key, "RSA keys of 1024 bits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := certs.Pair{Cert: write(t, dir, "cert.pem", tt.cert)}
			if tt.key != nil {
				p.Key = write(t, dir, "key.pem", tt.key)
			}
			w := certs.New(certs.Options{RefuseUntimely: true})
			goodCert, goodKey := good.Files()
			_, err := w.Load([]certs.Spec{{}, {Pairs: []certs.Pair{{Cert: goodCert, Key: goodKey}, p}}})
			var e *certs.FileError
			if !errors.As(err, &e) || e.Spec != 1 || e.Pair != 1 || e.Part != tt.part || !strings.Contains(e.Text, tt.want) {
				t.Errorf("got %+v, want %q", err, tt.want)
			}
			if untimely := strings.HasPrefix(tt.name, "expired") || strings.HasPrefix(tt.name, "not yet"); e.Untimely != untimely {
				t.Errorf("untimely: %v", e.Untimely)
			}
			if strings.ContainsAny(e.Text, "\n\x1b") {
				t.Errorf("%q can't be one line", e.Text)
			}
			// The same in memory, where only an expiry is fine, and a lack of names: a
			// program can give them.
			p = certs.Pair{Cert: "Secret a/tls", InMemory: true, CertText: string(tt.cert), KeyText: string(tt.key)}
			if tt.key != nil {
				p.Key = p.Cert
			}
			want := strings.NewReplacer(`cert.pem"`, `Secret a/tls"`, `key.pem"`, `Secret a/tls"`).Replace(tt.want)
			switch err = certs.Check(p); {
			case tt.name == "no names":
				if err != nil {
					t.Errorf("in memory: %v", err)
				}
			case e.Untimely && err != nil, !e.Untimely && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("in memory: %v, want %q", err, want)
			}
		})
	}
	w := certs.New(certs.Options{})
	_, err := w.Load([]certs.Spec{
		{Pairs: []certs.Pair{{Cert: dir}}},
		{Pairs: []certs.Pair{{Cert: filepath.Join(dir, "nothing\x1b[31m.pem")}}},
		{ClientCA: certs.CAFile{Path: write(t, dir, "ca.pem", good.Key)}},
	})
	for _, want := range []string{"this is no regular file", `nothing\x1b[31m.pem": the file can't be read: no such file`, "no certificate"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q, too", err, want)
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v isn't os.ErrNotExist", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// lineAfter is the number of the line behind text, in decimal.
func lineAfter(text []byte) string {
	n := 1 + bytes.Count(text, []byte("\n"))
	return string(rune('0'+n/10)) + string(rune('0'+n%10))
}

// byHand makes a certificate of a key of any kind, signed by itself.
func byHand(t testing.TB, key any, names ...string) (cert, secret []byte) {
	t.Helper()
	if names == nil {
		names = []string{"a.example"}
	}
	var public any
	switch k := key.(type) {
	case *rsa.PrivateKey:
		public = k.Public()
	case *ecdsa.PrivateKey:
		public = k.Public()
	case ed25519.PrivateKey:
		public = k.Public()
	}
	ca := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) // RSA keys of 1024 bits can't sign
	template := &x509.Certificate{SerialNumber: must(rand.Int(rand.Reader, elliptic.P256().Params().N)),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IPAddresses: []net.IP{net.IPv6loopback}}
	der := must(x509.CreateCertificate(rand.Reader, template, template, public, ca))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
}

// TestGoodFiles: keys of all kinds and forms, in one file or two.
func TestGoodFiles(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	rs := must(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		key  any
		form []byte // nil is PKCS #8
		want string
	}{
		{"ECDSA", ec, nil, "ECDSA P-384"},
		{"SEC 1", ec, block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec))), "ECDSA P-384"},
		{"RSA", rs, nil, "RSA 2048"},
		{"PKCS #1", rs, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs)), "RSA 2048"},
		{"Ed25519", ed, nil, "Ed25519"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert, key := byHand(t, tt.key, "A.example.", "*.b.example")
			if tt.form != nil {
				key = tt.form
			}
			// As openssl ecparam -genkey writes it, and with text between.
			key = append([]byte("words\r\n-----BEGIN EC PARAMETERS-----\r\nBggqhkjOPQMBBw==\r\n-----END EC PARAMETERS-----\r\n"), key...)
			two := certs.Pair{Cert: write(t, dir, "cert.pem", cert), Key: write(t, dir, "key.pem", key)}
			one := certs.Pair{Cert: write(t, dir, "both.pem", append(key, cert...))}
			for _, p := range []certs.Pair{two, one} {
				w := certs.New(certs.Options{})
				defer w.Close()
				stores, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{p}}})
				if err != nil {
					t.Fatal(err)
				}
				w.Use(stores)
				all := w.Certificates()
				if len(all) != 1 || all[0].Key != tt.want || strings.Join(all[0].Names, " ") != "a.example *.b.example ::1" || all[0].File != p.Cert || all[0].Problem != "" {
					t.Errorf("got %+v, want %q", all, tt.want)
				}
			}
		})
	}
}

// FuzzFiles: whatever is in the files, there is an error or a certificate that works.
func FuzzFiles(f *testing.F) {
	ca := testca.New(f)
	p := ca.Issue("a.example")
	f.Add(p.Cert, p.Key)
	f.Add(append(p.Cert[:len(p.Cert):len(p.Cert)], p.Key...), []byte(nil))
	f.Add(append(p.Cert[:len(p.Cert):len(p.Cert)], ca.PEM...), p.Key)
	f.Add([]byte("-----BEGIN "), []byte("-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		c, err := certs.Parse(certs.Pair{Cert: "cert.pem", Key: "key.pem"}, cert, key)
		switch {
		case err == nil && (c.Leaf == nil || len(c.Certificate) == 0):
			t.Error("no error and no certificate")
		case err != nil && (c != nil || err.Error() == "" || strings.ContainsAny(err.Error(), "\n\r\x1b")):
			t.Errorf("the error %q and %v", err, c)
		}
	})
}
