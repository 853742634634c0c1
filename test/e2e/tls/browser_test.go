//go:build unix

package tls

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestBrowser: a page by https opens WebSockets by wss in Chromium, before and after the
// certificate is swapped; the open one goes on. One that the browser doesn't trust is
// refused, by the browser.
func TestBrowser(t *testing.T) {
	t.Parallel()
	ca := testca.New(t)
	var keys []string
	issue := func() *testca.Pair {
		p := ca.Issue("127.0.0.1")
		sum := sha256.Sum256(p.TLS.Leaf.RawSubjectPublicKeyInfo)
		keys = append(keys, base64.StdEncoding.EncodeToString(sum[:]))
		return p
	}
	first, second, strange := issue(), issue(), ca.Issue("127.0.0.1")
	backends := kit.StartBackends(t, 1)
	cert, key := first.Files()
	b := kit.StartBalancer(t, file("auto", fmt.Sprintf("certificates: [{cert: %q, key: %q}]", cert, key), backends[0].Address))
	task, err := json.Marshal(map[string]any{"url": "https://" + b.Address + "/", "chromium": kit.Chromium(t), "keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	browser := process.Start(t, "browser", kit.Node(t, "secure.js", string(task)))
	for _, stage := range []struct {
		name string
		next *testca.Pair
	}{{"talking", second}, {"swapped", strange}} {
		browser.Stdout.Find(t, stage.name, 0, func(line string) bool { return line == stage.name })
		before := b.Stderr.Position()
		replace(t, cert, key, stage.next)
		b.FindLog(t, "certificate file replaced", before)
		if _, err := io.WriteString(browser.Stdin, "go on\n"); err != nil {
			t.Fatal(err)
		}
	}
	line := browser.Stdout.Find(t, "result", 0, func(line string) bool { return strings.HasPrefix(line, "{") })
	kit.SameJSON(t, "the page saw", line, `{"protocol": "h2", "before": "hello", "large": true, "after": "after the swap",
		"second": "with another certificate", "still": "still here", "refused": "ERR_CERT_AUTHORITY_INVALID", "ends": [1000, 1000]}`)
	if status := browser.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("the browser's script ended with status %d", status)
	}
	b.FindLog(t, "session open", 0, "tls=1.3", "resumed=true") // the page's own handshake was full
	b.FindLog(t, "handshake refused", 0, "result=tls_failed")
	b.Stop(t)
}
