//go:build unix

package limits

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestMaxBody: a longer body than max_body is refused, also if its length isn't known
// beforehand, and its route's own limit counts.
func TestMaxBody(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		}))
		defer backend.Close()
		b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
shutdown: {delay: 0}
limits: {max_body: 1KiB}
routes:
  - {match: {path: /large}, pool: main, limits: {max_body: 4KiB}}
  - {match: {path: /any}, pool: main, limits: {max_body: 0}}
  - {match: {path: /answered}, respond: 204}
  - {pool: main}
pools: {main: {backends: [{address: %q}]}}
`, engine, strings.TrimPrefix(backend.URL, "http://")))
		for _, c := range []struct {
			path    string
			length  int
			chunked bool
			status  int
		}{
			{"/", 1024, false, 200}, {"/", 1025, false, 413}, {"/", 0, false, 200},
			{"/", 1024, true, 200}, {"/", 1025, true, 413}, {"/", 300_000, true, 413},
			{"/large", 4096, false, 200}, {"/large", 4097, true, 413},
			{"/answered", 2048, false, 204},
			{"/any", 300_000, false, 200}, {"/any", 300_000, true, 200},
		} {
			body := io.Reader(bytes.NewReader(make([]byte, c.length)))
			if c.chunked {
				body = struct{ io.Reader }{body} // its length isn't known
			}
			res, err := (&http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+b.Address+c.path, "text/plain", body)
			if err != nil {
				t.Errorf("%+v: %v", c, err)
				continue
			}
			answer, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != c.status || c.status == 200 && string(answer) != fmt.Sprint(c.length, "<nil>") && string(answer) != fmt.Sprint(c.length, " <nil>") {
				t.Errorf("%+v: %d %q", c, res.StatusCode, answer)
			}
		}
	})
}
