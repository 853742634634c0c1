package jwtkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
)

var newRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newEC(c elliptic.Curve) *ecdsa.PublicKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return &k.PublicKey
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// object makes a JWK of a public key; more are pairs of names and values.
func object(t testing.TB, public any, more ...string) string {
	t.Helper()
	m := map[string]any{}
	switch p := public.(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", encode(p.N.Bytes()), encode(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", p.Params().Name, encode(point[1:1+half]), encode(point[1+half:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", encode(p)
	}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func set(keys ...string) []byte { return []byte(`{"keys": [` + strings.Join(keys, ",") + `]}`) }

func TestParseSet(t *testing.T) {
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	r, p256, p384, p521 := &newRSA().PublicKey, newEC(elliptic.P256()), newEC(elliptic.P384()), newEC(elliptic.P521())
	keys, skipped, err := ParseSet(set(object(t, r, "kid", "r"), object(t, p256, "kid", "256", "use", "sig"), object(t, p384, "kid", "384", "alg", "ES384"),
		object(t, p521, "kid", "521"), object(t, ed, "kid", "ed"),
		object(t, r, "kid", "enc", "use", "enc"), `{"kty": "oct", "k": "c2VjcmV0"}`, `{"kty": "new"}`, `7`))
	if err != nil || len(keys) != 5 || len(skipped) != 4 {
		t.Fatalf("%d keys, %d skipped: %v, %v", len(keys), len(skipped), skipped, err)
	}
	for i, want := range []any{r, p256, p384, p521, ed} {
		if !keys[i].Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(want) {
			t.Errorf("key %s is another", keys[i].ID)
		}
	}
	all := []string{"none", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", ""}
	for kid, want := range map[string]string{"r": "RS256 RS384 RS512 PS256 PS384 PS512", "256": "ES256", "384": "ES384", "521": "ES512", "ed": "EdDSA"} {
		var fits []string
		for _, alg := range all {
			if list, known := keys.Find(kid, alg); !known {
				t.Errorf("%s isn't known", kid)
			} else if len(list) == 1 {
				fits = append(fits, alg)
			}
		}
		if got := strings.Join(fits, " "); got != want {
			t.Errorf("%s fits %s, want %s", kid, got, want)
		}
	}
	if _, known := keys.Find("other", "RS256"); known {
		t.Error("another kid is known")
	}
	if list, known := keys.Find("", "EdDSA"); !known || len(list) != 1 {
		t.Errorf("without a kid: %d keys", len(list))
	}
}

// Without a kid, not all keys are tried.
func TestFindBounded(t *testing.T) {
	var keys Keys
	for i := range 50 {
		keys = append(keys, Key{ID: fmt.Sprint(i), Public: &newRSA().PublicKey})
	}
	if list, _ := keys.Find("", "RS256"); len(list) != maxTried {
		t.Errorf("%d keys are tried", len(list))
	}
}

func TestParseSetErrors(t *testing.T) {
	r, p256 := &newRSA().PublicKey, newEC(elliptic.P256())
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "<html>", "no set": "[]", "a key alone": object(t, r), "no keys": "{}", "empty": string(set()),
		"a short RSA key":  string(set(object(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}))),
		"a huge RSA key":   string(set(object(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1<<15), E: 65537}))),
		"an even exponent": string(set(object(t, r, "e", encode([]byte{4})))),
		"exponent 1":       string(set(object(t, r, "e", encode([]byte{1})))),
		"a huge exponent":  string(set(object(t, r, "e", encode(make([]byte, 100))))),
		"no base64":        string(set(object(t, r, "n", "!"))),
		"off the curve":    string(set(object(t, p256, "x", encode(make([]byte, 32))))),
		"a short x":        string(set(object(t, p256, "x", encode(make([]byte, 31))))),
		"another curve":    string(set(object(t, p256, "crv", "secp256k1"))),
		"a short Ed25519":  string(set(object(t, ed25519.PublicKey(make([]byte, 31))))),
		"a secret":         string(set(`{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`)),
		"for signing":      string(set(strings.Replace(object(t, r), "{", `{"key_ops": ["sign"],`, 1))),
		"too many":         `{"keys": [` + strings.Repeat(object(t, r)+",", maxKeys) + object(t, r) + `]}`,
	} {
		if keys, _, err := ParseSet([]byte(text)); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
}

func block(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(t testing.TB, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	return block(t, "PUBLIC KEY", der, err)
}

func TestParsePEM(t *testing.T) {
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	r := newRSA()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &r.PublicKey, r)
	cert := block(t, "CERTIFICATE", der, err)
	keys, err := ParsePEM([]byte("# comment\n" + publicPEM(t, ed) + cert + block(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&r.PublicKey), nil)))
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if list, known := keys.Find("any", "RS256"); !known || len(list) != 2 {
		t.Errorf("%d keys for a kid", len(list))
	}
	private, err := x509.MarshalPKCS8PrivateKey(r)
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":       {"", "no public key"},
		"a private key": {block(t, "PRIVATE KEY", private, err), "private key"},
		"another block": {block(t, "DH PARAMETERS", nil, nil), "no public key"},
		"garbage":       {block(t, "PUBLIC KEY", []byte("x"), nil), "can't be read"},
		"P-224":         {publicPEM(t, newEC(elliptic.P224())), "not supported"},
		"too many":      {strings.Repeat(cert, maxTried+1), "more than"},
	} {
		if _, err := ParsePEM([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseSecret(t *testing.T) {
	secret := strings.Repeat("s", minSecret)
	keys, err := ParseSecret([]byte(secret + "\r\n"))
	if err != nil || len(keys) != 1 || string(keys[0].Public.([]byte)) != secret || !keys[0].Fits("HS512") || keys[0].Fits("RS256") {
		t.Errorf("%v, %v", keys, err)
	}
	if _, err := ParseSecret([]byte(secret[1:] + "\n")); err == nil || strings.Contains(err.Error(), "sss") {
		t.Errorf("a short one: %v", err)
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add(set(object(f, newEC(elliptic.P256()), "kid", "a")))
	f.Add([]byte(`{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "OKP", "crv": "Ed25519", "x": ""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _, err := ParseSet(text)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for i := range keys {
			if keys[i].Fits("none") || keys[i].Fits("HS256") {
				t.Errorf("key %d fits what it must not", i)
			}
		}
	})
}
