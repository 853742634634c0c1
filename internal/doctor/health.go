package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const adviseHealth = "have a path that answers 200 while the server takes sessions, and 503 once it is told to stop; name it with --health"

func (d *doctor) health(ctx context.Context) finding {
	if d.o.Health == "" {
		return skipped("no --health")
	}
	status, load, err := d.askHealth(ctx)
	switch {
	case err != nil:
		return mend(fmt.Sprintf("GET %s: %v", d.o.Health, cut(err)), adviseHealth)
	case status == http.StatusServiceUnavailable:
		return mend(fmt.Sprintf("GET %s says 503, which means draining: no session would come here", d.o.Health), adviseHealth)
	case status != http.StatusOK:
		return mend(fmt.Sprintf("GET %s says %d", d.o.Health, status), adviseHealth)
	case load == "":
		return ok(fmt.Sprintf("GET %s says 200", d.o.Health))
	case !isLoad(load):
		return mend(fmt.Sprintf("Holdfast-Load: %.64q is neither a number from 0 to 1 nor a percentage", load), "write 0.7 or 70% for seven tenths of what the server can carry")
	}
	return ok(fmt.Sprintf("GET %s says 200, Holdfast-Load %s", d.o.Health, load))
}

// askHealth asks as the balancer does: each time on a connection of its own,
// without following redirects.
func (d *doctor) askHealth(ctx context.Context) (status int, load string, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.target.httpOrigin+d.o.Health, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = d.target.host
	req.Header.Set("User-Agent", "holdfast-doctor")
	for _, field := range d.o.Header {
		req.Header.Add(field[0], field[1])
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: d.tlsConfig()}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, res.Header.Get("Holdfast-Load"), err
}

// isLoad reads a load as the balancer does, docs/balancing.md.
func isLoad(s string) bool {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	number = strings.TrimSpace(number)
	load, err := strconv.ParseFloat(number, 64)
	if percent {
		load /= 100
	}
	return err == nil && strings.Trim(number, "0123456789.") == "" && load <= 1
}
