package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer has a key of each kind.
type issuer struct {
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	secret []byte
}

var newIssuer = sync.OnceValue(func() *issuer {
	i := &issuer{secret: []byte(strings.Repeat("secret", 8))}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
		if i.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			_, i.ed, err = ed25519.GenerateKey(rand.Reader)
		}
	}
	if err != nil {
		panic(err)
	}
	return i
})

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// set is its JWK Set.
func (i *issuer) set(t testing.TB) []byte {
	t.Helper()
	point, err := i.ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"keys": []any{
		map[string]string{"kty": "RSA", "kid": "rsa", "n": encode(i.rsa.N.Bytes()), "e": encode(big.NewInt(int64(i.rsa.E)).Bytes())},
		map[string]string{"kty": "EC", "kid": "ec", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])},
		map[string]string{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(i.ed.Public().(ed25519.PublicKey))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// load makes the source of keys that are in a file.
func load(t testing.TB, text []byte, spec func(path string) jwtkeys.Spec) *jwtkeys.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spec(path)
	sources, err := jwtkeys.NewStore(jwtkeys.Options{}).Load([]jwtkeys.Spec{s})
	if err != nil {
		t.Fatal(err)
	}
	return sources[s]
}

func (i *issuer) keys(t testing.TB) *jwtkeys.Source {
	return load(t, i.set(t), func(path string) jwtkeys.Spec { return jwtkeys.Spec{Set: path} })
}

// claimsOf are valid claims, with changes; a nil value removes one.
func claimsOf(changes ...any) jwt.MapClaims {
	now := time.Now()
	c := jwt.MapClaims{"iss": "https://issuer.example/", "aud": "chat", "sub": "alice", "exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		}
	}
	return c
}

// sign makes a token; header has changes of its header.
func sign(t testing.TB, method jwt.SigningMethod, key any, c jwt.Claims, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// signRaw makes a token of any texts, signed with Ed25519.
func (i *issuer) signRaw(header, payload string) string {
	text := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := i.ed.Sign(nil, []byte(text), crypto.Hash(0))
	if err != nil {
		panic(err)
	}
	return text + "." + encode(signature)
}

// request is a bearer.Request.
type request struct {
	query  string
	fields httphead.Fields
}

func (r *request) Query() []byte                            { return []byte(r.query) }
func (r *request) Header(name string, i int) ([]byte, bool) { return r.fields.At(name, i) }

func ask(query string, lines ...string) *Asked {
	r := &request{query: query}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.fields = append(r.fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return &Asked{Request: r, Method: http.MethodGet, URL: "http://ws.example/" + query, Client: "192.0.2.1"}
}

func bearing(token string) *Asked { return ask("", "Authorization: Bearer "+token) }

// noWait is a Waiter for what must not wait.
func noWait(t testing.TB) Waiter {
	return func(start func(done func())) error {
		t.Error("it waits")
		return nil
	}
}

// await is a Waiter.
func await(start func(done func())) error {
	done := make(chan struct{})
	start(func() { close(done) })
	<-done
	return nil
}

func parseSources(t testing.TB, words ...string) (list []bearer.Source) {
	t.Helper()
	for _, w := range words {
		s, err := bearer.Parse(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// usual are the options of most tests.
func usual(t testing.TB) JWTOptions {
	return JWTOptions{Keys: newIssuer().keys(t), Algorithms: []string{"RS256", "ES256", "EdDSA"}, Sources: []bearer.Source{bearer.Authorization},
		Issuer: "https://issuer.example/", Audience: []string{"other", "chat"}, Leeway: 30 * time.Second}
}

func policy(o JWTOptions) *Policy { return &Policy{JWT: NewJWT(o)} }

// answer is what a client is told, in short, and the result.
func answer(err error) (status int, result, challenge string) {
	f := failure.Of(err)
	if f.Refusal != nil {
		status = f.Refusal.Status
		for _, field := range f.Refusal.Header {
			if field[0] == "WWW-Authenticate" {
				challenge = field[1]
			}
		}
	}
	return status, f.Code.Result(), challenge
}
