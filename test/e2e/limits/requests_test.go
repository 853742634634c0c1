//go:build unix

package limits

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// get makes a request of plain HTTP.
func get(t *testing.T, client *http.Client, b *kit.Balancer, path string) (status, retryAfter int) {
	t.Helper()
	res, err := client.Get("http://" + b.Address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	retryAfter, _ = strconv.Atoi(res.Header.Get("Retry-After"))
	return res.StatusCode, retryAfter
}

// from is a client of an address.
func from(t *testing.T, address string) *http.Client {
	tr := &http.Transport{DialContext: func(_ context.Context, _, to string) (net.Conn, error) { return kit.ConnectFrom(address, to) }}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: testkit.Patience}
}

// Requests of plain HTTP of one address have a rate, together with its handshakes, and a
// number of connections; a reload keeps what was counted.
func TestRequestsOfOneAddress(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		backend := kit.StartBackends(t, 1)[0].Address
		with := func(burst int) string {
			return file(backend, engine, fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
http: {max_connections_per_address: 2}
routes:
  - {match: {path: /slow}, pool: main, limits: {new_requests_per_address: {rate: 1/h, burst: %d}}}
  - {match: {path: /few}, pool: main, limits: {max_requests_per_address: 1}}
  - {pool: main}
`, burst))
		}
		b := kit.StartBalancer(t, with(2))
		client := from(t, one)
		if status, _ := get(t, client, b, "/slow"); status != http.StatusOK {
			t.Errorf("the first request gets %d", status)
		}
		admitted(t, b, one, "/slow")
		if after := refused(t, b, one, "/slow", http.StatusTooManyRequests); after < 3000 || after > 3600 {
			t.Errorf("Retry-After is %d, want about an hour", after)
		}
		if status, after := get(t, client, b, "/slow"); status != http.StatusTooManyRequests || after < 3000 {
			t.Errorf("a third request gets %d, and is to come back in %d s", status, after)
		}
		if status, _ := get(t, client, b, "/"); status != http.StatusOK {
			t.Errorf("another route answers %d", status)
		}
		if status, _ := get(t, from(t, two), b, "/slow"); status != http.StatusOK {
			t.Errorf("another client gets %d", status)
		}
		b.FindLog(t, "handshake refused", 0, "result=request_rate", "path=/slow")
		b.WriteConfig(t, with(3))
		b.Reload(t, kit.Reloaded)
		if status, _ := get(t, client, b, "/slow"); status != http.StatusOK {
			t.Errorf("with a larger burst: %d", status)
		}
		if status, _ := get(t, client, b, "/slow"); status != http.StatusTooManyRequests {
			t.Errorf("the reload has forgotten what was counted: %d", status)
		}

		// A session is a request under way.
		admitted(t, b, one, "/few")
		refused(t, b, one, "/few", http.StatusTooManyRequests)
		if status, after := get(t, client, b, "/few"); status != http.StatusTooManyRequests || after < 5 || after > 30 {
			t.Errorf("a second request at once gets %d, and is to come back in %d s", status, after)
		}

		// Connections that wait for nothing make room for others of the same address.
		for range 5 {
			testkit.Eventually(t, "room for another connection", func() bool { // one is idle a moment after its answer
				status, _ := get(t, from(t, one), b, "/")
				return status == http.StatusOK
			})
		}
	})
}
