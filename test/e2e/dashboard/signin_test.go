//go:build unix

package dashboard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestSignIn: a page without a token asks for it, and keeps it in its tab only.
func TestSignIn(t *testing.T) {
	t.Parallel()
	const token = "correct-horse-battery-staple-0123456789"
	tokens := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokens, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := kit.StartBalancer(t, file(t, kit.StartBackends(t, 2), fmt.Sprintf(", token_file: %q", tokens)))
	var got struct {
		Findings []finding
		Refused  string
		Dialogs  int
		Kept     struct {
			Session        int
			Local, Cookies string
		}
		After int
	}
	seen(t, operator(t, "http://"+b.Admin, "signin", map[string]string{"token": token}), &got)
	wantNone(t, got.Findings)
	if !strings.Contains(got.Refused, "token") {
		t.Errorf("a wrong token was answered %q", got.Refused)
	}
	if got.Dialogs != 0 || got.Kept.Session != 1 || strings.Contains(got.Kept.Local, token) || got.Kept.Cookies != "" || got.After != 0 {
		t.Errorf("after the sign-in: %+v", got)
	}
}
