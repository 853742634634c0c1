package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// Client asks a running balancer. Errors are one line each, for a person at
// the command line; those of Reload can be more, one for each mistake in the
// file.
type Client struct {
	Address string // host:port
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// Reload has the balancer take its changed configuration file. It returns
// warnings, or an error when the file was refused and nothing has changed.
func (c Client) Reload(ctx context.Context) (warnings []string, err error) {
	var answer reloadAnswer
	if err := c.ask(ctx, http.MethodPost, "/reload", &answer); err != nil {
		return nil, err
	}
	if !answer.OK {
		return nil, errors.New(strings.Join(answer.Errors, "\n"))
	}
	return answer.Warnings, nil
}

// Status asks for the balancer's status.
func (c Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, http.MethodGet, "/status", &s)
}

// Sessions lists limit live sessions at most; 0 means DefaultSessions.
func (c Client) Sessions(ctx context.Context, limit int) ([]Session, error) {
	path := "/sessions"
	if limit != 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	var answer sessionsAnswer
	err := c.ask(ctx, http.MethodGet, path, &answer)
	return answer.Sessions, err
}

func (c Client) ask(ctx context.Context, method, path string, answer any) error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || port == "" {
		return fmt.Errorf("admin address %q is not host:port, such as 127.0.0.1:9900", c.Address)
	}
	if host == "" {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return fmt.Errorf("admin address %q is not host:port, such as 127.0.0.1:9900", c.Address)
	}
	// One request, and never through HTTP_PROXY: a client of its own.
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	switch {
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnprocessableEntity:
		return fmt.Errorf("%s refuses %s %s with status %d: %s", c.Address, method, path, res.StatusCode, firstLine(body))
	case json.Unmarshal(body, answer) != nil:
		return fmt.Errorf("%s answers, but not as a balancer does: is it the admin address?", c.Address)
	}
	return nil
}

// unreachable says why there is no answer and what to do.
func (c Client) unreachable(err error) error {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no balancer answers at %s: is it running, with admin: {address: %s} in its file or --admin %s?", c.Address, c.Address, c.Address)
	case errors.As(err, &dns):
		return fmt.Errorf("admin address %s: the host %q can't be resolved", c.Address, dns.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no balancer answers at %s: timed out", c.Address)
	case errors.As(err, &op):
		return fmt.Errorf("no balancer answers at %s: %w", c.Address, op.Err)
	}
	// Without "Get http://...: " before it.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("no balancer answers at %s: %w", c.Address, err)
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}
