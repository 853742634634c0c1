//go:build unix

package auth

import (
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestSessionsOfOneUser: a claim limits the sessions of all tokens of one user.
func TestSessionsOfOneUser(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		i := startIssuer(t)
		b := kit.StartBalancer(t, file(engine, startTelling(t), `jwt: {jwks_url: "`+i.URL+`", issuer: me, audience: chat}`)+
			"limits: {max_sessions_per_claim: {claim: sub, max: 2}}\n")
		ann, bob := i.token(t, "ann", time.Hour), i.token(t, "bob", time.Hour)
		first := open(t, b, ann)
		open(t, b, i.token(t, "ann", 2*time.Hour))
		_, res, err := wspeer.Dial(b.Address, "/", "Authorization: Bearer "+ann)
		if res == nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
			t.Errorf("a third session: %v, want 429", err)
		}
		open(t, b, bob)
		b.FindLog(t, "handshake refused", 0, "result=claim_sessions")
		first.Close()
		testkit.Eventually(t, "room after the end of a session", func() bool {
			w, _, err := wspeer.Dial(b.Address, "/", "Authorization: Bearer "+ann)
			if err == nil {
				defer w.Close()
			}
			return err == nil
		})
	})
}
