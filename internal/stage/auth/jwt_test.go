package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
)

func TestGoodTokens(t *testing.T) {
	i := newIssuer()
	p := policy(usual(t))
	for name, token := range map[string]string{
		"RS256":            sign(t, jwt.SigningMethodRS256, i.rsa, claimsOf(), "kid", "rsa"),
		"ES256":            sign(t, jwt.SigningMethodES256, i.ec, claimsOf(), "kid", "ec"),
		"EdDSA":            sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "kid", "ed"),
		"without a kid":    sign(t, jwt.SigningMethodES256, i.ec, claimsOf()),
		"an audience list": sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("aud", []string{"x", "chat"})),
		"a bit too old":    sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("exp", time.Now().Add(-20*time.Second).Unix())),
		"a bit too young":  sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("nbf", time.Now().Add(20*time.Second).Unix())),
		"a fraction":       sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("exp", float64(time.Now().Unix())+100.5)),
		"a huge expiry":    sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("exp", 1e300)),
		"another typ":      sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "typ", "at+jwt"),
	} {
		g, err := p.Permit(bearing(token), noWait(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if sub, _ := g.Claims.Get("sub"); sub != "alice" || g.Edits() || len(g.Fields) > 0 || !g.Expires.IsZero() {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

func TestBadTokens(t *testing.T) {
	i := newIssuer()
	_, otherKey, _ := ed25519.GenerateKey(rand.Reader)
	der, err := x509.MarshalPKIXPublicKey(&i.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "kid", "ed")
	parts := strings.Split(good, ".")
	eddsa := func(c jwt.Claims, header ...any) string { return sign(t, jwt.SigningMethodEdDSA, i.ed, c, header...) }
	raw := func(payload string) string { return i.signRaw(`{"alg":"EdDSA"}`, payload) }
	for _, tt := range []struct {
		name, token string
		status      int
		result, why string // what the answer says
	}{
		{"nothing", "", 401, "token_missing", ""},
		{"none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claimsOf()), 401, "token_invalid", "algorithm is not allowed"},
		{"None", encode([]byte(`{"alg":"None"}`)) + "." + parts[1] + ".", 401, "token_invalid", "unknown algorithm"},
		{"no alg", i.signRaw(`{}`, "{}"), 401, "token_invalid", "unknown algorithm"},
		{"alg is a number", i.signRaw(`{"alg":7}`, "{}"), 401, "token_invalid", "unknown algorithm"},
		{"HS256 with the public key", sign(t, jwt.SigningMethodHS256, publicPEM, claimsOf()), 401, "token_invalid", "algorithm is not allowed"},
		{"HS256 with the DER", sign(t, jwt.SigningMethodHS256, der, claimsOf(), "kid", "rsa"), 401, "token_invalid", "algorithm is not allowed"},
		{"an algorithm that isn't pinned", sign(t, jwt.SigningMethodRS512, i.rsa, claimsOf(), "kid", "rsa"), 401, "token_invalid", "algorithm is not allowed"},
		{"a key of another kind", sign(t, jwt.SigningMethodES256, i.ec, claimsOf(), "kid", "rsa"), 401, "token_invalid", "key of the token is not for its algorithm"},
		{"an unknown kid", eddsa(claimsOf(), "kid", "other"), 401, "token_invalid", "unknown key"},
		{"an empty kid that is no key", sign(t, jwt.SigningMethodEdDSA, otherKey, claimsOf(), "kid", ""), 401, "token_invalid", "signature"},
		{"a path for a kid", eddsa(claimsOf(), "kid", "../../etc/passwd"), 401, "token_invalid", "unknown key"},
		{"a kid that is no text", eddsa(claimsOf(), "kid", []int{1}), 401, "token_invalid", "malformed"},
		{"a key in the header", sign(t, jwt.SigningMethodEdDSA, otherKey, claimsOf(), "jwk", map[string]string{"kty": "OKP", "crv": "Ed25519", "x": encode(otherKey.Public().(ed25519.PublicKey))}), 401, "token_invalid", "signature"},
		{"a URL in the header", sign(t, jwt.SigningMethodEdDSA, otherKey, claimsOf(), "jku", "http://evil.example/jwks"), 401, "token_invalid", "signature"},
		{"crit", eddsa(claimsOf(), "crit", []string{"b64"}, "b64", false), 401, "token_invalid", "critical"},
		{"another key", sign(t, jwt.SigningMethodEdDSA, otherKey, claimsOf(), "kid", "ed"), 401, "token_invalid", "signature"},
		{"a changed payload", parts[0] + "." + encode([]byte(`{"sub":"root","exp":9e9}`)) + "." + parts[2], 401, "token_invalid", "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", 401, "token_invalid", "signature"},
		{"one byte less", good[:len(good)-2], 401, "token_invalid", ""},

		{"two parts", parts[0] + "." + parts[1], 401, "token_invalid", "malformed"},
		{"four parts", good + ".x", 401, "token_invalid", "malformed"},
		{"five parts, encrypted", good + ".x.y", 401, "token_invalid", "malformed"},
		{"many parts", strings.Repeat(".", 10_000), 401, "token_invalid", "malformed"},
		{"dots alone", "..", 401, "token_invalid", "malformed"},
		{"no base64", "!.!.!", 401, "token_invalid", "malformed"},
		{"padding", parts[0] + "==." + parts[1] + "." + parts[2], 401, "token_invalid", "malformed"},
		{"spaces", "a b", 401, "token_invalid", "malformed"},
		{"huge", strings.Repeat("a", maxToken+1), 401, "token_invalid", "too long"},
		{"no JSON", i.signRaw("x", "x"), 401, "token_invalid", "malformed"},
		{"a list", raw(`[]`), 401, "token_invalid", "malformed"},
		{"null", raw(`null`), 401, "token_invalid", "malformed"},
		{"not UTF-8", raw("{\"exp\":9e9,\"sub\":\"\xff\"}"), 401, "token_invalid", "malformed"},
		{"a claim twice", raw(`{"exp":9e9,"sub":"alice","sub":"root"}`), 401, "token_invalid", "twice"},
		{"twice, with escapes", raw(`{"exp":9e9,"sub":"alice","\u0073ub":"root"}`), 401, "token_invalid", "twice"},
		{"twice, inside another", raw(`{"exp":9e9,"a":{"b":1,"b":2}}`), 401, "token_invalid", "twice"},
		{"deep", raw(`{"exp":9e9,"a":` + strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50) + "}"), 401, "token_invalid", "deeply"},
		{"deep lists", raw(`{"exp":9e9,"a":` + strings.Repeat(`[`, 2000) + strings.Repeat("]", 2000) + "}"), 401, "token_invalid", "deeply"},
		{"many claims", raw(`{"exp":9e9` + manyClaims(maxClaims+1) + "}"), 401, "token_invalid", "many"},

		{"expired", eddsa(claimsOf("exp", time.Now().Add(-31*time.Second).Unix())), 401, "token_expired", "expired"},
		{"expired long ago", eddsa(claimsOf("exp", -1e300)), 401, "token_expired", "expired"},
		{"no expiry", eddsa(claimsOf("exp", nil)), 401, "token_invalid", "no date of expiry"},
		{"an expiry of null", raw(`{"exp":null}`), 401, "token_invalid", "no date of expiry"},
		{"an expiry in text", eddsa(claimsOf("exp", "soon")), 401, "token_invalid", "not a number"},
		{"an expiry in a list", eddsa(claimsOf("exp", []int{math.MaxInt32})), 401, "token_invalid", "not a number"},
		{"an expiry in text, of digits", raw(`{"exp":"9e9"}`), 401, "token_invalid", "not a number"},
		{"a beginning in text", raw(`{"exp":9e9,"nbf":"0x0p0"}`), 401, "token_invalid", "not a number"},
		{"a beginning in an object", raw(`{"exp":9e9,"nbf":{"a":1}}`), 401, "token_invalid", "not a number"},
		{"infinite", raw(`{"exp":1e999}`), 401, "token_invalid", "not a number"},
		{"not yet", eddsa(claimsOf("nbf", time.Now().Add(40*time.Second).Unix())), 401, "token_invalid", "not valid yet"},
		{"another issuer", eddsa(claimsOf("iss", "https://issuer.example")), 401, "token_invalid", "another issuer"},
		{"no issuer", eddsa(claimsOf("iss", nil)), 401, "token_invalid", "another issuer"},
		{"issuers", eddsa(claimsOf("iss", []string{"https://issuer.example/"})), 401, "token_invalid", "another issuer"},
		{"another audience", eddsa(claimsOf("aud", "chat2")), 401, "token_invalid", "another audience"},
		{"no audience", eddsa(claimsOf("aud", nil)), 401, "token_invalid", "another audience"},
		{"audiences in one", eddsa(claimsOf("aud", "x,chat")), 401, "token_invalid", "another audience"},
	} {
		p := policy(usual(t))
		g, err := p.Permit(bearing(tt.token), await)
		if err == nil {
			t.Errorf("%s: permitted: %+v", tt.name, g)
			continue
		}
		status, result, challenge := answer(err)
		if status != tt.status || result != tt.result || !strings.Contains(challenge, tt.why) ||
			(tt.why != "") != strings.Contains(challenge, `error="invalid_token"`) && tt.name != "one byte less" {
			t.Errorf("%s: %d %s %s: %v", tt.name, status, result, challenge, err)
		}
		// Neither the log nor the client gets any of it.
		for text := range strings.SplitSeq(tt.token, ".") {
			if len(text) > 8 && (strings.Contains(err.Error(), text) || strings.Contains(challenge, text)) {
				t.Errorf("%s: a part of the token is in %q or %q", tt.name, err, challenge)
			}
		}
	}
}

func manyClaims(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"c` + strings.Repeat("x", i%3) + string(rune('0'+i%10)) + string(rune('a'+i/10%26)) + string(rune('a'+i/260)) + `":1`)
	}
	return b.String()
}

func TestSeveralTokens(t *testing.T) {
	o := usual(t)
	o.Sources = parseSources(t, "query:t", "header:Authorization")
	token := sign(t, jwt.SigningMethodEdDSA, newIssuer().ed, claimsOf())
	_, err := policy(o).Permit(ask("?t="+token+"&t=x"), noWait(t))
	if status, result, challenge := answer(err); status != 400 || result != "token_invalid" || !strings.Contains(challenge, `error="invalid_request"`) {
		t.Errorf("%d %s %s", status, result, challenge)
	}
}

func TestSecret(t *testing.T) {
	i := newIssuer()
	o := usual(t)
	o.Algorithms = []string{"HS256"}
	o.Keys = load(t, i.secret, func(path string) jwtkeys.Spec { return jwtkeys.Spec{Secret: path} })
	p := policy(o)
	if _, err := p.Permit(bearing(sign(t, jwt.SigningMethodHS256, i.secret, claimsOf(), "kid", "any")), noWait(t)); err != nil {
		t.Error(err)
	}
	for name, token := range map[string]string{
		"another secret": sign(t, jwt.SigningMethodHS256, []byte("x"), claimsOf()),
		"HS512":          sign(t, jwt.SigningMethodHS512, i.secret, claimsOf()),
		"EdDSA":          sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf()),
	} {
		if _, err := p.Permit(bearing(token), noWait(t)); err == nil {
			t.Errorf("%s: permitted", name)
		}
	}
}

func TestRequiredClaims(t *testing.T) {
	i := newIssuer()
	o := usual(t)
	token := sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("scope", "chat admin", "roles", []string{"user", "editor"}, "name", "a,b", "ok", true, "n", 7,
		"realm_access", map[string]any{"roles": []string{"x"}}, "empty", ""))
	for name, tt := range map[string]struct {
		required [2]string
		ok       bool
	}{
		"a word of scope": {[2]string{"scope", "admin"}, true}, "all of scope": {[2]string{"scope", "chat admin"}, true}, "a part of a word": {[2]string{"scope", "adm"}, false},
		"an item": {[2]string{"roles", "editor"}, true}, "items": {[2]string{"roles", "user,editor"}, false}, "no item": {[2]string{"roles", "admin"}, false},
		"a text": {[2]string{"name", "a,b"}, true}, "a part of a text": {[2]string{"name", "b"}, false}, "a word of a text": {[2]string{"sub", "ali"}, false},
		"a boolean": {[2]string{"ok", "true"}, true}, "another": {[2]string{"ok", "false"}, false}, "a number": {[2]string{"n", "7"}, true},
		"inside another": {[2]string{"realm_access.roles", "x"}, true}, "any value": {[2]string{"roles", ""}, true}, "any, empty": {[2]string{"empty", ""}, true},
		"missing": {[2]string{"none", ""}, false}, "the outer one": {[2]string{"realm_access", ""}, false},
	} {
		o.Required = [][2]string{{"sub", "alice"}, tt.required}
		_, err := policy(o).Permit(bearing(token), noWait(t))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			if status, result, challenge := answer(err); status != 403 || result != "claims_refused" || !strings.Contains(challenge, `error="insufficient_scope"`) {
				t.Errorf("%s: %d %s %s", name, status, result, challenge)
			}
		}
	}
}

// TestGrant is what follows from a token.
func TestGrant(t *testing.T) {
	i := newIssuer()
	o := usual(t)
	o.Headers = []HeaderOf{{"X-User", "sub"}, {"X-Roles", "realm_access.roles"}, {"X-None", "none"}, {"X-Bad", "bad"}}
	o.Session = []string{"tenant", "sub", "long", "none"}
	o.CloseOnExpiry = true
	expires := time.Now().Add(time.Minute).Truncate(time.Second)
	token := sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("exp", expires.Unix(), "sub", " Ünï\r\nX-Admin: 1%", "tenant", 7, "long", strings.Repeat("x", maxShown+1),
		"realm_access", map[string]any{"roles": []string{"a", "b"}}, "bad", []string{"user,admin", "x"}, "list", []any{map[string]int{"a": 1}}))
	g, err := policy(o).Permit(bearing(token), noWait(t))
	if err != nil {
		t.Fatal(err)
	}
	want := [][2]string{{"X-User", "%20%C3%9Cn%C3%AF%0D%0AX-Admin: 1%25"}, {"X-Roles", "a,b"}}
	if len(g.Fields) != 2 || g.Fields[0] != want[0] || g.Fields[1] != want[1] {
		t.Errorf("fields %q", g.Fields)
	}
	var shown []string
	for name, value := range g.Session.All() {
		shown = append(shown, name, value)
	}
	if strings.Join(shown, "|") != "tenant|7|sub| Ünï\r\nX-Admin: 1%" {
		t.Errorf("shown %q", shown)
	}
	if !g.Expires.Equal(expires.Add(30 * time.Second)) {
		t.Errorf("expires at %v", g.Expires)
	}
	if _, ok := g.Claims.Get("list"); ok {
		t.Error("a list of objects is a claim")
	}
	o.CloseOnExpiry, o.NoExpiry = false, true
	if g, err = policy(o).Permit(bearing(token), noWait(t)); err != nil || !g.Expires.IsZero() {
		t.Errorf("kept: %v, %v", g, err)
	}
	o.CloseOnExpiry = true
	if g, err = policy(o).Permit(bearing(sign(t, jwt.SigningMethodEdDSA, i.ed, claimsOf("exp", nil))), noWait(t)); err != nil || !g.Expires.IsZero() {
		t.Errorf("without expiry: %v, %v", g, err)
	}
}

func TestEdits(t *testing.T) {
	o := usual(t)
	o.Sources = parseSources(t, "header:Authorization", "query:t", "subprotocol:bearer")
	token := sign(t, jwt.SigningMethodEdDSA, newIssuer().ed, claimsOf())
	r := ask("?a=b&t=x", "Authorization: Basic y", "Sec-WebSocket-Protocol: v1, bearer, "+token)
	r.Request.(*request).query = "?a=b"
	g, err := policy(o).Permit(r, noWait(t))
	if err != nil {
		t.Fatal(err)
	}
	fields := g.EditFields(r.Request.(*request).fields)
	if !g.Edits() || g.Subprotocol() != "bearer" || len(fields) != 2 || string(fields[1].Value) != "v1" || string(g.EditQuery([]byte("?t=x"))) != "?t=x" {
		t.Errorf("the offer is %q, the answer %q", fields, g.Subprotocol())
	}
	o.Strip = true
	r = ask("?a=b&t="+token, "X: y")
	if g, err = policy(o).Permit(r, noWait(t)); err != nil || !g.Edits() || g.Subprotocol() != "" || string(g.EditQuery(r.Query())) != "?a=b" {
		t.Errorf("stripped: %v, %v", g, err)
	}
}

func TestReserved(t *testing.T) {
	o := usual(t)
	o.Headers = []HeaderOf{{"X-User", "sub"}}
	var r Reserved
	r.Add(policy(o))
	r.Add(&Policy{Request: NewRequest(RequestOptions{Copy: []string{"X-Plan"}})})
	for name, want := range map[string]bool{"x-user": true, "X_User": true, "X-PLAN": true, "X-Users": false, "X": false} {
		if r.Has([]byte(name)) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if (*Reserved)(nil).Has([]byte("x-user")) || !r.Some() {
		t.Error("none has one, or some has none")
	}
}

func BenchmarkVerify(b *testing.B) {
	i := newIssuer()
	p := policy(usual(b))
	for name, token := range map[string]string{
		"RS256": sign(b, jwt.SigningMethodRS256, i.rsa, claimsOf(), "kid", "rsa"),
		"ES256": sign(b, jwt.SigningMethodES256, i.ec, claimsOf(), "kid", "ec"),
		"EdDSA": sign(b, jwt.SigningMethodEdDSA, i.ed, claimsOf(), "kid", "ed"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Permit(bearing(token), noWait(b)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
