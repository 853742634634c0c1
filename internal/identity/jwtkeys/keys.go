// Package jwtkeys has the keys by which tokens (JWT, RFC 7519) are verified: from the URL
// of a JWK Set (RFC 7517), from files, or a shared secret. Keys outlive configurations,
// are refreshed in the background, and stay in use while their source can't be read.
package jwtkeys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Key verifies signatures.
type Key struct {
	// ID is the kid of tokens that the key has signed; "" if its source has none.
	ID string
	// Algorithm is the only one that the key is for; "" if its source doesn't say.
	Algorithm string
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, or the
	// []byte of a secret.
	Public any
}

// Fits reports whether the key can have signed a token with an algorithm of RFC 7518
// section 3.1 or RFC 8037. Each kind of key has algorithms of its own, so that a public
// key is never used as a secret.
func (k *Key) Fits(algorithm string) bool {
	if k.Algorithm != "" && k.Algorithm != algorithm {
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[public.Curve]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	case []byte:
		return strings.HasPrefix(algorithm, "HS")
	}
	return false
}

// Keys are those of one source. They must not be changed. nil means that none were ever
// loaded.
type Keys []Key

// maxTried bounds how many keys are tried for one token, since each costs a signature.
const maxTried = 4

// Find returns the keys that a token may be signed with. kid is "" if it doesn't say.
// known reports whether a key with that kid is there, whatever its algorithm.
func (ks Keys) Find(kid, algorithm string) (list []Key, known bool) {
	for i := range ks {
		k := &ks[i]
		if kid != "" && k.ID != "" && k.ID != kid {
			continue
		}
		known = true
		if k.Fits(algorithm) && len(list) < maxTried {
			list = append(list, *k)
		}
	}
	return list, known
}

// maxKeys bounds the keys of one source.
const maxKeys = 100

// minRSA is the shortest RSA key, in bits (RFC 7518 section 3.3).
const minRSA = 2048

// jwk is a key of RFC 7517 section 4, with the parameters of RFC 7518 section 6 and RFC
// 8037.
type jwk struct {
	Kty, Use, Alg, Kid, Crv, N, E, X, Y string
	Ops                                 []string `json:"key_ops"`
}

// ParseSet reads a JWK Set. Keys that aren't for verifying signatures, and keys of kinds
// that aren't known here, are passed over (RFC 7517 section 5); skipped says why, for a
// log. It is an error if no key is left.
func ParseSet(text []byte) (keys Keys, skipped []error, err error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New("not a JWK Set: want JSON such as {\"keys\": [...]}")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("the JWK Set has more than %d keys", maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseJWK(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, errors.Join(append([]error{errors.New("the JWK Set has no key for verifying signatures")}, skipped...)...)
	}
	return keys, skipped, nil
}

func parseJWK(raw []byte) (k Key, err error) {
	var j jwk
	if json.Unmarshal(raw, &j) != nil {
		return k, errors.New("not a JWK")
	}
	k.ID, k.Algorithm = j.Kid, j.Alg
	for _, op := range j.Ops {
		if op == "verify" {
			j.Ops = nil
		}
	}
	switch {
	case j.Use != "" && j.Use != "sig":
		return k, errors.New("it is not for signatures")
	case j.Ops != nil:
		return k, errors.New("it is not for verifying")
	case j.Kty == "RSA":
		k.Public, err = j.rsa()
	case j.Kty == "EC":
		k.Public, err = j.ec()
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		var x []byte
		if x, err = decode(j.X); err == nil && len(x) != ed25519.PublicKeySize {
			err = errors.New("x has the wrong length")
		}
		k.Public = ed25519.PublicKey(x)
	default:
		err = errors.New("keys of this kind are not supported") // among them secrets, which don't belong there
	}
	return k, err
}

func (j *jwk) rsa() (*rsa.PublicKey, error) {
	n, err := decode(j.N)
	if err != nil {
		return nil, err
	}
	e, err := decode(j.E)
	if err != nil {
		return nil, err
	}
	key, exponent := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}, new(big.Int).SetBytes(e)
	if !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 || exponent.Bit(0) == 0 {
		return nil, errors.New("e is out of range")
	}
	key.E = int(exponent.Int64())
	return key, checkRSA(key)
}

func checkRSA(key *rsa.PublicKey) error {
	const maxRSA = 16 << 10 // more would only cost time
	if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
		return fmt.Errorf("an RSA key of %d bits; want %d to %d", bits, minRSA, maxRSA)
	}
	return nil
}

func (j *jwk) ec() (*ecdsa.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
	if curve == nil {
		return nil, errors.New("keys on this curve are not supported")
	}
	x, err := decode(j.X)
	if err != nil {
		return nil, err
	}
	y, err := decode(j.Y)
	if err != nil {
		return nil, err
	}
	// RFC 7518 section 6.2.1.2: both have the full length.
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		return nil, errors.New("x or y has the wrong length")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, errors.New("the point is not on the curve")
	}
	return key, nil
}

func decode(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) == 0 {
		return nil, errors.New("a part is missing or not base64url")
	}
	return b, nil
}
