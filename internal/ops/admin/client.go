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

// Client talks to a Server. The text of its errors is meant for a terminal: one
// line, or for Reload one line for each error in the file.
type Client struct {
	Address string // host:port
}

// maxResponse bounds the body of a response, in bytes.
const maxResponse = 64 << 20

// Reload makes the balancer reload its configuration. It returns warnings, or an
// error if the file is invalid and nothing has changed.
func (c Client) Reload(ctx context.Context) (warnings []string, err error) {
	var response reloadResponse
	if err := c.do(ctx, http.MethodPost, "/reload", &response); err != nil {
		return nil, err
	}
	if !response.OK {
		return nil, errors.New(strings.Join(response.Errors, "\n"))
	}
	return response.Warnings, nil
}

// Status returns the balancer's status.
func (c Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/status", &s)
}

// Sessions lists at most limit live sessions; 0 means api.DefaultSessions. after is
// the next of the previous call, "" to start; next is "" at the end. Sessions
// that open or end between two calls may be missing.
func (c Client) Sessions(ctx context.Context, after string, limit int) (list []Session, next string, err error) {
	q := url.Values{}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if after != "" {
		q.Set("after", after)
	}
	path := "/sessions"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	var response sessionsResponse
	err = c.do(ctx, http.MethodGet, path, &response)
	return response.Sessions, response.Next, err
}

// do sends a request and decodes the response, whose status is 200 or 422.
func (c Client) do(ctx context.Context, method, path string, response any) error {
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
	// A transport of its own, since the default one would use HTTP_PROXY.
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return c.unreachable(err)
	}
	switch {
	case res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnprocessableEntity:
		return fmt.Errorf("%s refuses %s %s with status %d: %s", c.Address, method, path, res.StatusCode, firstLine(body))
	case json.Unmarshal(body, response) != nil:
		return fmt.Errorf("%s answers, but not as a balancer does: is it the admin address?", c.Address)
	}
	return nil
}

// unreachable explains why there was no response and what to do.
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
	// Leave out "Get http://...: ".
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
