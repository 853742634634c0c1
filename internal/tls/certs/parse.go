package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

func quote(s string) string { return hint.Quote(s) }

// block is a block of a PEM file, and the line where it begins.
type block struct {
	*pem.Block
	line int
}

// blocks returns the blocks of a PEM file. pem.Decode passes over damaged ones, and a
// chain without one of its certificates would be served as if it were complete.
func blocks(part Part, file string, text []byte) (all []block, bad *FileError) {
	begin := []byte("-----BEGIN ")
	line, start := 0, -1 // of the block under way
	end := func(to int) {
		if start < 0 || bad != nil {
			return
		}
		b, _ := pem.Decode(text[start:to])
		if b == nil {
			bad = at(part, file, line, "the PEM block that begins here is damaged or cut off: write it again")
			return
		}
		all = append(all, block{b, line})
	}
	n := 0
	for offset := 0; offset < len(text); {
		n++
		next := len(text)
		if i := bytes.IndexByte(text[offset:], '\n'); i >= 0 {
			next = offset + i + 1
		}
		switch l := text[offset:next]; {
		case bytes.HasPrefix(l, begin):
			end(offset)
			start, line = offset, n
		case bytes.HasPrefix(bytes.TrimLeft(l, " \t\ufeff"), begin):
			return nil, at(part, file, n, "a PEM block must begin at the beginning of a line: remove what is before -----BEGIN")
		}
		offset = next
	}
	end(len(text))
	if bad != nil || len(all) > 0 {
		return all, bad
	}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, at(part, file, 0, "it is empty")
	case text[0] == 0x30: // an ASN.1 sequence
		return nil, at(part, file, 0, "it is not in PEM but in a binary format: convert it, with 'openssl x509 -inform der' (a certificate), 'openssl pkey -inform der' (a key) or 'openssl pkcs12 -nodes' (both)")
	}
	return nil, at(part, file, 0, "it is not in PEM: nothing in it begins with -----BEGIN")
}

// certificates parses the certificates among the blocks of a file.
func certificates(part Part, file string, all []block) (certs []*x509.Certificate, err *FileError) {
	for _, b := range all {
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			bad := at(part, file, b.line, "the certificate that begins here can't be read: %s", plain(err))
			bad.Err = err
			return nil, bad
		}
		certs = append(certs, c)
	}
	if len(certs) > 0 {
		return certs, nil
	}
	for _, b := range all {
		switch {
		case b.Type == "CERTIFICATE REQUEST":
			return nil, at(part, file, b.line, "this is a certificate request: a certificate authority must make a certificate of it first")
		case isKey(b):
			return nil, at(part, file, b.line, "there is a private key in it, but no certificate")
		}
	}
	return nil, at(part, file, all[0].line, "there is no certificate in it: want a block that begins with -----BEGIN CERTIFICATE-----")
}

func isKey(b block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") }

// privateKey parses the first private key among the blocks of a file.
func privateKey(part Part, file string, all []block) (crypto.Signer, *FileError) {
	for _, b := range all {
		if !isKey(b) {
			continue
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, at(part, file, b.line, "the private key is protected by a password, which holdfast can't ask for: remove it, with 'openssl pkey -in FILE -out NEWFILE'")
		}
		var key any
		var err error
		switch b.Type {
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		default:
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		}
		if err != nil {
			bad := at(part, file, b.line, "the private key that begins here can't be read: %s", plain(err))
			bad.Err = err
			return nil, bad
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, at(part, file, b.line, "a key of the kind %T can't sign: use an ECDSA or RSA key", key)
		}
		return signer, nil
	}
	if part == Cert {
		return nil, at(part, file, 0, "there is a certificate in it, but no private key: add the key to it, or name the file that has it as key (--tls-key)")
	}
	return nil, at(part, file, all[0].line, "there is no private key in it")
}

// plain is the text of an error of crypto/x509. It may contain bytes of the file.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "x509: ")
	return strings.Trim(fmt.Sprintf("%+q", text), `"`)
}

// parse makes a certificate of the files of p. It reports what makes it unusable,
// except that it may have expired.
func parse(p Pair, cert, key []byte) (*tls.Certificate, *FileError) {
	all, bad := blocks(Cert, p.Cert, cert)
	if bad != nil {
		return nil, bad
	}
	chain, bad := certificates(Cert, p.Cert, all)
	if bad != nil {
		return nil, bad
	}
	part := Cert
	if p.Key != "" {
		part = Key
		if all, bad = blocks(Key, p.Key, key); bad != nil {
			return nil, bad
		}
	}
	signer, bad := privateKey(part, p.keyFile(), all)
	if bad != nil {
		return nil, bad
	}
	if bad := check(p, part, chain, signer); bad != nil {
		return nil, bad
	}
	c := &tls.Certificate{PrivateKey: signer, Leaf: chain[0]}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}
