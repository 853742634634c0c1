package clientcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// certificate signs template with a key of its own.
func certificate(t testing.TB, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(0xBEEF), time.Date(2027, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// all is a policy with every fact on the listener "a", and one on "b".
func all() *Policy {
	var fields []Field
	for _, word := range Facts() {
		fact, _ := ParseFact(word)
		fields = append(fields, Field{"X-" + strings.ReplaceAll(word, "_", "-"), fact})
	}
	return New(map[string][]Field{"a": fields, "b": {{"X-Only-B", Subject}}})
}

// headers are the fields as net/http reads them.
func headers(t testing.TB, lines []byte) http.Header {
	t.Helper()
	h := http.Header{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\r\n"), "\r\n") {
		name, value, ok := strings.Cut(line, ": ")
		if !ok || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("the line %q", line)
		}
		h.Add(name, value)
	}
	return h
}

func TestFacts(t *testing.T) {
	spiffe, _ := url.Parse("spiffe://example.org/a%2Fb,c")
	cert := certificate(t, &x509.Certificate{
		Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{ // in an order that pkix.Name doesn't keep
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "Zoë, \"admin\"\r\nX-Role: root"},
			{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Acme"},
		}},
		DNSNames: []string{"a.example", "b.example,URI:spiffe://admin"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		EmailAddresses: []string{"x@a.example"}, URIs: []*url.URL{spiffe},
	})
	h := headers(t, all().AppendHeaders(nil, "a", cert))
	const name = `O=Acme,CN=Zo\C3\AB\, \"admin\"\0D\0AX-Role: root`
	for field, want := range map[string]string{
		"X-Verified": "true", "X-Subject": name, "X-Issuer": name, "X-Serial": "BEEF", "X-Not-After": "2027-01-02T02:04:05Z",
		"X-San": "DNS:a.example,DNS:b.example%2CURI:spiffe://admin,IP:192.0.2.1,email:x@a.example,URI:spiffe://example.org/a%2Fb%2Cc",
	} {
		if got := h.Get(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	text, err := url.PathUnescape(h.Get("X-Pem"))
	if block, _ := pem.Decode([]byte(text)); err != nil || block == nil || !bytes.Equal(block.Bytes, cert.Raw) {
		t.Errorf("the PEM is %q, %v", text, err)
	}
	if der, err := base64.StdEncoding.DecodeString(strings.Trim(h.Get("X-Client-Cert"), ":")); err != nil || !bytes.Equal(der, cert.Raw) {
		t.Errorf("Client-Cert is %q, %v", h.Get("X-Client-Cert"), err)
	}
	if len(h.Get("X-Fingerprint")) != 64 {
		t.Errorf("the fingerprint is %q", h.Get("X-Fingerprint"))
	}
	if len(h) != len(Facts()) {
		t.Errorf("fields %v", h)
	}
}

func TestPolicy(t *testing.T) {
	p := all()
	if got := string(p.AppendHeaders(nil, "a", nil)); got != "X-verified: false\r\n" {
		t.Errorf("without a certificate: %q", got)
	}
	if got := p.AppendHeaders(nil, "c", nil); got != nil || p.Has("c") || !p.Has("b") {
		t.Errorf("on a listener without fields: %q", got)
	}
	for name, want := range map[string]bool{"X-Subject": true, "x_subject": true, "X.ONLY.B": true, "X-Subjects": false, "": false} {
		if p.IsReserved([]byte(name)) != want {
			t.Errorf("IsReserved(%q) is not %t", name, want)
		}
	}
	var none *Policy
	if New(nil) != nil || none.IsReserved([]byte("X-Subject")) || none.Has("a") || none.AppendHeaders(nil, "a", nil) != nil {
		t.Error("no policy does something")
	}
	for name, want := range map[string]bool{"Client-Cert": true, "X-Forwarded-Tls-Client-Cert": true, "X_Subject": false, "": false,
		"Host": false, "x-forwarded-FOR": false, "Holdfast-Session": false, "Sec-WebSocket-Key": false, "a b": false} {
		if (CheckName(name) == nil) != want {
			t.Errorf("CheckName(%q): %v", name, CheckName(name))
		}
	}
}

// Whatever is in a certificate, each value is one line of printable ASCII, and the
// list of names has as many as the certificate.
func TestHostileNames(t *testing.T) {
	p := all()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.StringOfN(rapid.Rune(), 1, 20, -1), 1, 3).Draw(t, "names")
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: names[0], Organization: names}, DNSNames: names, SerialNumber: big.NewInt(1)}
		var err error
		if cert.RawSubject, err = asn1.Marshal(cert.Subject.ToRDNSequence()); err != nil {
			return // not UTF-8
		}
		lines := string(p.AppendHeaders(nil, "a", cert))
		if n := strings.Count(lines, "\r\n"); n != len(Facts()) || strings.ContainsFunc(strings.ReplaceAll(lines, "\r\n", ""), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("the lines are %q", lines)
		}
		if san := string(SAN.of(cert)); strings.Count(san, ",") != len(names)-1 {
			t.Errorf("%q became %s", names, san)
		}
	})
}
