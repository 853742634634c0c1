package jwtkeys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ParsePEM reads public keys and certificates; of a certificate it uses the key. They
// have no ID, so each is tried for every token that it fits.
func ParsePEM(text []byte) (keys Keys, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		k, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New(`no public key in it: want PEM that begins with "-----BEGIN PUBLIC KEY-----"`)
	case len(keys) > maxTried:
		return nil, fmt.Errorf("more than %d keys, which would all be tried: use a JWK Set, in which keys have names", maxTried)
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (k Key, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		k.Public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		k.Public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			k.Public = cert.PublicKey
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return k, errors.New("this is a private key: give its public key, as from openssl pkey -pubout, and keep the private one with the issuer")
		}
		return k, fmt.Errorf("the PEM block %q is no public key", block.Type)
	}
	if err != nil {
		return k, fmt.Errorf("the public key can't be read: %w", err)
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return k, checkRSA(public)
	case ed25519.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if !k.Fits("ES256") && !k.Fits("ES384") && !k.Fits("ES512") {
			return k, errors.New("keys on this curve are not supported")
		}
		return k, nil
	}
	return k, errors.New("keys of this kind are not supported: want RSA, ECDSA or Ed25519")
}

// minSecret is the shortest secret, in bytes: the length of an HMAC with SHA-256 (RFC
// 7518 section 3.2).
const minSecret = 32

// ParseSecret reads a secret. A line break at its end isn't part of it.
func ParseSecret(text []byte) (Keys, error) {
	secret := bytes.TrimRight(text, "\r\n")
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes and needs at least %d: make one with openssl rand -base64 48", len(secret), minSecret)
	}
	return Keys{{Public: secret}}, nil
}

// maxText bounds a file or an answer, in bytes.
const maxText = 1 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("longer than %d bytes", maxText)
	}
	return text, err
}
