//go:build unix

package dashboard

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// script would run if a page took a claim for HTML.
const script = `<img src=x onerror="document.title='broken'">`

// TestOperate: 1,000 sessions talk while the operator closes one of them and drains a backend.
func TestOperate(t *testing.T) {
	t.Parallel()
	const n = 1000
	backends := kit.StartBackends(t, 2)
	b := kit.StartBalancer(t, file(t, backends, ""))
	crowd := kit.StartCrowd(t, "crowd", b.Address, n-1)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "any", "aud": "any", "sub": script,
		"exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	const address = "127.0.83.1" // of no other client
	client, _, err := kit.DialFrom(t, address, b.Address, "/quiet?access_token="+token)
	if err != nil {
		t.Fatal(err)
	}
	b.AwaitSessions(t, n)

	p := operator(t, "http://"+b.Admin, "operate", map[string]string{"sessions": "1,000", "client": address, "timeout": "2m"})
	_, err = client.Message()
	if !kit.IsClosed(err, 4001) || !strings.Contains(err.Error(), "moved to <b>another</b> account") {
		t.Errorf("the client got %v", err)
	}
	client.SendClose(4001, "")
	// The drain is as long as a slow machine needs to show some of it, and then cut short.
	p.Stdout.Find(t, "draining", 0, func(line string) bool { return line == "draining" })
	b.Command(t, 0, "drain", "main/a", "--timeout", "1s")
	p.Stdout.Find(t, "drained", 0, func(line string) bool { return line == "drained" })
	var got struct {
		Sessions                                      string
		Charts                                        map[string]string
		Claims, Problem, Found, Refused, State, Words string
		Facts, Events                                 []string
		Hidden, Injected                              int
	}
	seen(t, p, &got)
	for id, want := range map[string]string{
		"chart-sessions": "main: now 1,000, lowest ", "chart-connects": "main: now 0", "chart-messages": "main: now ", "chart-closes": "backend_drained: now ",
	} {
		if !strings.Contains(got.Charts[id], want) {
			t.Errorf("%s says %q, want %q", id, got.Charts[id], want)
		}
	}
	if got.Claims != "sub="+script || !slices.Contains(got.Facts, "Claim sub"+script) || got.Injected != 0 {
		t.Errorf("the claim is %q, in the details %q; %d elements came of it", got.Claims, got.Facts, got.Injected)
	}
	if !strings.Contains(got.Problem, "code") || !strings.Contains(got.Refused, "soon") {
		t.Errorf("a bad code: %q; a bad timeout: %q", got.Problem, got.Refused)
	}
	if got.Found != "No session matches." || got.State != "drain" || got.Words != "empty" {
		t.Errorf("found %q, state %q, at the end %q", got.Found, got.State, got.Words)
	}
	if all := strings.Join(got.Events, "\n"); !strings.Contains(all, "main/a") {
		t.Errorf("the events are\n%s", all)
	}
	if got.Hidden != 0 {
		t.Errorf("a hidden page sent %d requests", got.Hidden)
	}
	closed := 0
	for _, m := range crowd.Members {
		select {
		case <-m.Over:
			if m.Ending.Code != 1001 {
				t.Errorf("a session of the drained backend ended with %+v", m.Ending)
			}
			closed++
		default:
		}
	}
	if closed < n/3 || closed > 2*n/3 {
		t.Errorf("%d of %d sessions were closed", closed, n)
	}
	crowd.FinishAll(t)
}
