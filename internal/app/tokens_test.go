package app_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// tokens returns a value for auth of a route, which shows the claim sub, and what makes
// tokens for it.
func tokens(t *testing.T) (auth string, token func(sub string) string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return `{jwt: {public_key_file: ` + file + `, issuer: me, audience: chat, session_claims: [sub]}}`, func(sub string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": "me", "aud": "chat", "sub": sub, "exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString(key)
		if err != nil {
			t.Error(err)
		}
		return text
	}
}

// openWith is open with header fields.
func openWith(t *testing.T, url string, fields http.Header) *ws {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	return opened(t, ctx, url, &websocket.DialOptions{HTTPHeader: fields})
}
