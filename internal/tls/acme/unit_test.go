//go:build unix

package acme

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestNothing checks that a Group that isn't used costs nothing.
func TestNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	var log testkit.Log
	g := NewGroup(log.Logger(), func() { t.Error("something has changed") })
	plan, err := NewPlan(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	g.Apply(plan)
	if got := runtime.NumGoroutine(); got > before {
		t.Errorf("%d goroutines, %d before", got, before)
	}
	if _, ok := g.Answer("a", "/.well-known/acme-challenge/x"); ok || len(g.Certificates()) > 0 || len(g.Lacking()) > 0 {
		t.Error("there is something")
	}
	g.Close()
	if log.String() != "" {
		t.Errorf("the log has %s", log.String())
	}
}

func TestPlan(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{empty, empty + "x"} {
		if _, err := NewPlan([]Use{{Account: Account{CA: ca, Storage: "x"}}}, false); err == nil || !strings.Contains(err.Error(), ca) {
			t.Errorf("%s: %v", ca, err)
		}
	}
	if _, err := NewPlan([]Use{{Domains: []string{"x.y"}}}, false); err == nil || !strings.Contains(err.Error(), "acme.storage") {
		t.Errorf("without a folder: %v", err)
	}
	a := Account{Email: "a", Storage: "x"}
	p, err := NewPlan([]Use{{a, []string{"x.y", "X.Y"}}, {a, []string{"x.y", "z"}}, {Account{Storage: "y"}, []string{"x.y"}}}, true)
	if err != nil || len(p.wants) != 2 || strings.Join(p.wants[a].domains, " ") != "x.y z" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestChallengeFiles checks what other balancers see.
func TestChallengeFiles(t *testing.T) {
	var log testkit.Log
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	a, b := newChallenges(storage, "acme/x", log.Logger()), newChallenges(storage, "acme/x", log.Logger())
	look := func() {
		t.Helper()
		for _, c := range []*challenges{a, b} {
			if err := c.look(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	look() // there is no folder yet
	http := acme.Challenge{Type: acme.ChallengeTypeHTTP01, Token: "../t", KeyAuthorization: "../t.key", Identifier: acme.Identifier{Type: "dns", Value: "ws.example.com"}}
	alpn := http
	alpn.Type = acme.ChallengeTypeTLSALPN01
	for _, chal := range []acme.Challenge{http, alpn} {
		if err := a.Present(t.Context(), chal); err != nil {
			t.Fatal(err)
		}
	}
	look()
	for _, c := range []*challenges{a, b} {
		if got, ok := c.answer("WS.example.com", http.HTTP01ResourcePath()); !ok || got != "../t.key" {
			t.Errorf("the answer is %q, %v", got, ok)
		}
		if _, ok := c.answer("other.example.com", http.HTTP01ResourcePath()); ok {
			t.Error("answers for another host")
		}
		if c.serve("WS.example.com") == nil || c.serve("other.example.com") != nil {
			t.Error("the certificates are wrong")
		}
	}
	// Files that a balancer has left behind, and others.
	old, _ := json.Marshal(challenge{Domain: "old", Path: "/p", KeyAuth: "k", Made: time.Now().Add(-2 * stale)})
	for name, text := range map[string]string{"acme/x/old.json": string(old), "acme/x/damaged.json": "{"} {
		if err := storage.Store(t.Context(), name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if _, ok := b.answer("old", "/p"); ok || storage.Exists(t.Context(), "acme/x/old.json") {
		t.Error("an old challenge is still there")
	}
	for _, chal := range []acme.Challenge{http, alpn} {
		if err := a.CleanUp(t.Context(), chal); err != nil {
			t.Fatal(err)
		}
	}
	look()
	for _, c := range []*challenges{a, b} {
		if _, ok := c.answer("ws.example.com", http.HTTP01ResourcePath()); ok || c.serve("ws.example.com") != nil {
			t.Error("a challenge is still there")
		}
	}
	if log.String() != "" {
		t.Errorf("the log has %s", log.String())
	}
}

// TestLog checks what of certmagic's log gets into ours.
func TestLog(t *testing.T) {
	var log testkit.Log
	ctx, end := context.WithCancel(t.Context())
	z := newZap(log.Logger("level", "msg", "a"), ctx)
	z.Info("steps")
	z.Named("obtain").Error("reported otherwise")
	z.Warn("careful", zap.String("a", "b\nc"), zap.Duration("b", time.Second))
	z.Named("maintenance").With(zap.Strings("a", []string{"x"})).Error("broken")
	end()
	z.Error("too late")
	const want = `level=INFO msg="ACME: careful" a="b\nc"
level=WARN msg="ACME: broken" a=[x]
`
	if got := log.String(); got != want {
		t.Errorf("the log has\n%s\nwant\n%s", got, want)
	}
}
