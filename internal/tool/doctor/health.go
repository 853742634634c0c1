package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const adviseHealth = "add a path that returns 200 while the server accepts sessions, and 503 after SIGTERM; give it with --health"

func (d *doctor) health(ctx context.Context) finding {
	if d.o.Health == "" {
		return skipped("no --health")
	}
	status, load, err := d.askHealth(ctx)
	switch {
	case err != nil:
		return fix(fmt.Sprintf("GET %s: %v", d.o.Health, describeEnd(err)), adviseHealth)
	case status == http.StatusServiceUnavailable:
		return fix(fmt.Sprintf("GET %s returned 503, which means draining: the balancer would send no sessions", d.o.Health), adviseHealth)
	case status != http.StatusOK:
		return fix(fmt.Sprintf("GET %s returned %d", d.o.Health, status), adviseHealth)
	case load == "":
		return ok(fmt.Sprintf("GET %s returned 200", d.o.Health))
	case !isLoad(load):
		return fix(fmt.Sprintf("Holdfast-Load: %.64q is neither a number from 0 to 1 nor a percentage", load), "use 0.7 or 70% if seven tenths of the server's capacity are in use")
	}
	return ok(fmt.Sprintf("GET %s returned 200, Holdfast-Load %s", d.o.Health, load))
}

// askHealth makes a health check like the balancer: on a new connection each time,
// and without following redirects.
func (d *doctor) askHealth(ctx context.Context) (status int, load string, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	elsewhere := isURL(d.o.Health) // at another address
	url := d.o.Health
	if !elsewhere {
		url = d.target.httpOrigin + d.o.Health
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("User-Agent", "holdfast-doctor")
	if !elsewhere { // don't send the server's credentials to another address
		req.Host = d.target.host
		for _, field := range d.o.Header {
			req.Header.Add(field[0], field[1])
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: d.o.tls.Clone()}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, res.Header.Get("Holdfast-Load"), err
}

// isURL reports whether --health is a complete URL instead of a path.
func isURL(health string) bool {
	return strings.HasPrefix(health, "http://") || strings.HasPrefix(health, "https://")
}

// isLoad reports whether the balancer accepts s as a load, see docs/balancing.md.
func isLoad(s string) bool {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	number = strings.TrimSpace(number)
	load, err := strconv.ParseFloat(number, 64)
	if percent {
		load /= 100
	}
	return err == nil && strings.Trim(number, "0123456789.") == "" && load <= 1
}
