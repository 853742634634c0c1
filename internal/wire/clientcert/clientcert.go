// Package clientcert tells backends about the certificate of a TLS client, in header
// fields whose names the operator chooses. Nobody else can send these fields: a
// Policy says which are to be removed from every request, on all listeners.
//
// What is in a certificate was written by its owner, and an authority has signed it
// as it was. So each value is of printable ASCII, and no value can look like two.
package clientcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Fact is something about a client's certificate.
type Fact uint8

const (
	Verified    Fact = iota + 1 // "true", or "false" if the client has shown none
	Subject                     // RFC 4514, with \XX for what isn't printable ASCII
	Issuer                      // likewise
	Serial                      // hexadecimal, upper case
	Fingerprint                 // SHA-256 of the certificate, hexadecimal, lower case
	SAN                         // such as "DNS:a.example,URI:spiffe://a/b", see appendSAN
	NotAfter                    // RFC 3339, UTC
	PEM                         // percent-encoded, as nginx sends it
	DER                         // base64 between colons (RFC 9440 §2.2)
)

var words = map[string]Fact{
	"verified": Verified, "subject": Subject, "issuer": Issuer, "serial": Serial, "fingerprint": Fingerprint,
	"san": SAN, "not_after": NotAfter, "pem": PEM, "client_cert": DER,
}

// Facts lists the words that ParseFact takes, in alphabetical order.
func Facts() []string {
	all := make([]string, 0, len(words))
	for word := range words {
		all = append(all, word)
	}
	slices.Sort(all)
	return all
}

// ParseFact parses one of the Facts.
func ParseFact(word string) (Fact, bool) {
	f, ok := words[word]
	return f, ok
}

// CheckName returns why a field of that name can't have a fact, or nil.
func CheckName(name string) error {
	b := []byte(name)
	if len(b) == 0 || !httphead.IsPlainName(b) {
		return errors.New("a header field's name must consist of letters, digits and \"-\"")
	}
	for _, taken := range taken {
		prefix, isPrefix := strings.CutSuffix(taken, "*")
		if httphead.EqualFold(b, taken) || isPrefix && httphead.ResemblesPrefix(b, prefix) {
			return errors.New("this header field has another meaning already")
		}
	}
	return nil
}

// taken are the fields that the balancer sets or removes for other reasons.
var taken = []string{
	"host", "connection", "upgrade", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate",
	"te", "trailer", "transfer-encoding", "content-length", "http2-settings", "cookie", "via", "expect",
	"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded",
	"sec-websocket-*", "holdfast-*",
}

// Field is a header field with a fact.
type Field struct {
	Name string
	Fact Fact
}

// Policy has the fields of each listener, by its name. It is immutable. nil is one
// without fields.
type Policy struct {
	fields map[string][]Field
	names  []string // of all listeners, in lower case
}

// New makes a Policy. It returns nil if there are no fields.
func New(fields map[string][]Field) *Policy {
	p := &Policy{fields: fields}
	for _, of := range fields {
		for _, f := range of {
			if name := strings.ToLower(f.Name); !slices.Contains(p.names, name) {
				p.names = append(p.names, name)
			}
		}
	}
	if p.names == nil {
		return nil
	}
	return p
}

// IsReserved reports whether a client may not send a field of that name, or a server
// could confuse it with one of those (see httphead.Resembles).
func (p *Policy) IsReserved(name []byte) bool {
	if p == nil {
		return false
	}
	for _, reserved := range p.names {
		if httphead.Resembles(name, reserved) {
			return true
		}
	}
	return false
}

// Has reports whether requests that come on a listener get fields.
func (p *Policy) Has(listener string) bool { return p != nil && len(p.fields[listener]) > 0 }

// AppendHeaders appends the fields for a request that came on a listener, as lines
// with CR LF. cert is nil if the client has shown no certificate; only Verified is
// there then.
func (p *Policy) AppendHeaders(dst []byte, listener string, cert *x509.Certificate) []byte {
	p.each(listener, cert, func(name string, value []byte) {
		dst = append(append(dst, name...), ": "...)
		dst = append(append(dst, value...), "\r\n"...)
	})
	return dst
}

// Each calls set with the name and value of each field that AppendHeaders appends.
func (p *Policy) Each(listener string, cert *x509.Certificate, set func(name, value string)) {
	p.each(listener, cert, func(name string, value []byte) { set(name, string(value)) })
}

func (p *Policy) each(listener string, cert *x509.Certificate, set func(name string, value []byte)) {
	if p == nil {
		return
	}
	for _, f := range p.fields[listener] {
		if f.Fact == Verified || cert != nil {
			set(f.Name, f.Fact.of(cert))
		}
	}
}

// of is the fact as a field's value: printable ASCII.
func (f Fact) of(cert *x509.Certificate) []byte {
	switch f {
	case Verified:
		if cert == nil {
			return []byte("false")
		}
		return []byte("true")
	case Subject:
		return appendName(nil, cert.RawSubject, &cert.Subject)
	case Issuer:
		return appendName(nil, cert.RawIssuer, &cert.Issuer)
	case Serial:
		return bytes.ToUpper(cert.SerialNumber.Append(nil, 16))
	case Fingerprint:
		sum := sha256.Sum256(cert.Raw)
		return hex.AppendEncode(nil, sum[:])
	case SAN:
		return appendSAN(nil, cert)
	case NotAfter:
		return cert.NotAfter.UTC().AppendFormat(nil, time.RFC3339)
	case PEM:
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		return appendPercent(nil, string(text), isUnreserved)
	case DER:
		return append(base64.StdEncoding.AppendEncode([]byte(":"), cert.Raw), ':')
	}
	panic("clientcert: unknown fact")
}

const upperHex = "0123456789ABCDEF"

// appendName appends a distinguished name by RFC 4514. pkix.Name has lost the order
// of its parts, so raw is read again.
func appendName(dst, raw []byte, parsed *pkix.Name) []byte {
	var parts pkix.RDNSequence
	text := ""
	if rest, err := asn1.Unmarshal(raw, &parts); err == nil && len(rest) == 0 {
		text = parts.String()
	} else {
		text = parsed.String()
	}
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' { // RFC 4514 §2.4 allows this for every byte
			dst = append(dst, '\\', upperHex[c>>4], upperHex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendSAN appends the subject alternative names (RFC 5280 §4.2.1.6), separated by
// commas. In each, commas and other bytes that don't belong into one are
// percent-encoded: a name that an authority has let pass could have a comma and
// another name after it.
func appendSAN(dst []byte, cert *x509.Certificate) []byte {
	add := func(kind, name string) {
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = appendPercent(append(dst, kind...), name, isInName)
	}
	for _, name := range cert.DNSNames {
		add("DNS:", name)
	}
	for _, ip := range cert.IPAddresses {
		add("IP:", ip.String())
	}
	for _, name := range cert.EmailAddresses {
		add("email:", name)
	}
	for _, uri := range cert.URIs {
		add("URI:", uri.String())
	}
	return dst
}

// appendPercent appends text, with %XX for the bytes that keep doesn't keep.
func appendPercent(dst []byte, text string, keep func(byte) bool) []byte {
	for i := range len(text) {
		if c := text[i]; keep(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

func isUnreserved(c byte) bool { // RFC 3986 §2.3
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// isInName keeps a "%", so that a URI with escapes stays as it is.
func isInName(c byte) bool {
	return '!' <= c && c <= '~' && c != ',' && c != '"' && c != '\\' && c != ';'
}
