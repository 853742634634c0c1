// Package client talks to the admin API of a running balancer, which ops/admin serves. The
// command line uses it. The texts of its errors are for a terminal: one line, or for a
// reload that was refused one for each error in the file. A refusal by the balancer is an
// *api.Problem with its status and field.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Options of a Client. The zero value is enough for a balancer on this machine.
type Options struct {
	// Address is host:port, https://host:port, unix:PATH or an absolute PATH; "" for
	// what Find returns.
	Address string
	// Token is sent with each request unless it is "".
	Token string
	// CA is a file with the certificates (PEM) that the balancer's may be signed by; ""
	// for those that the system trusts. Cert and Key are files with the client's own
	// certificate; "" for none. Each makes host:port https://host:port.
	CA, Cert, Key string
}

// Client talks to one balancer. Its methods may be called by several goroutines at once.
type Client struct {
	address string // for people
	base    string // of URLs
	token   string
	sockets []string // that Find looked for and didn't find
	http    *http.Client
}

// maxResponse bounds the body of a response, in bytes.
const maxResponse = 64 << 20

// New returns a Client, or an error that says which option is wrong. It doesn't connect.
func New(o Options) (*Client, error) {
	var sockets []string
	if o.Address == "" {
		if o.Address = Find(); o.Address == defaultAddress && os.Getenv("HOLDFAST_ADMIN") == "" {
			sockets = tried()
		}
	}
	secure, err := tlsConfig(o)
	if err != nil {
		return nil, err
	}
	c := &Client{address: o.Address, token: o.Token, sockets: sockets}
	// A transport of its own, since the default one would use HTTP_PROXY.
	transport := &http.Transport{TLSClientConfig: secure, MaxIdleConnsPerHost: 4}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if path, ok := unixPath(o.Address); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		c.base = "http://localhost"
		return c, nil
	}
	if c.base, err = baseURL(o.Address, secure != nil); err != nil {
		return nil, err
	}
	return c, nil
}

// Address is what New was given, or has found.
func (c *Client) Address() string { return c.address }

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// unixPath returns the path of a unix socket's address.
func unixPath(address string) (path string, ok bool) {
	if path, ok = strings.CutPrefix(address, "unix:"); ok {
		return path, true
	}
	return address, strings.HasPrefix(address, "/")
}

// baseURL is the URL of a TCP address.
func baseURL(address string, secure bool) (string, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "http", address
	}
	if secure {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(strings.TrimSuffix(rest, "/"))
	if host == "" {
		host = "localhost"
	}
	base := scheme + "://" + net.JoinHostPort(host, port)
	u, urlErr := url.Parse(base)
	if err != nil || port == "" || urlErr != nil || u.Host == "" || u.User != nil || scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("admin address %q is not host:port, such as 127.0.0.1:9900, nor a path such as /run/holdfast/admin.sock", address)
	}
	return base, nil
}

// call sends a request with body as JSON, unless it is nil, and decodes the response.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, body, response any) error {
	res, err := c.send(ctx, method, path, q, body, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return c.unreachable(err)
	}
	if json.Unmarshal(text, response) != nil {
		return c.stranger()
	}
	return nil
}

// send sends a request. The caller closes the body of the response, whose status is 200.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, body any, header http.Header) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return nil, c.unreachable(err)
	}
	p := new(api.Problem)
	if res.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(text, p) == nil && p.Status == res.StatusCode {
		return nil, c.refused(p)
	}
	if res.StatusCode >= 400 {
		return nil, fmt.Errorf("%s refuses %s %s with status %d: %s", c.address, method, path, res.StatusCode, firstLine(text))
	}
	return nil, c.stranger()
}

// refused makes the text of a problem one for a terminal.
func (c *Client) refused(p *api.Problem) error {
	if len(p.Errors) > 0 {
		p.Detail = strings.Join(p.Errors, "\n")
	}
	if p.Status == http.StatusUnauthorized {
		p.Detail = fmt.Sprintf("%s: %s", c.address, p.Detail)
	}
	return p
}

func (c *Client) stranger() error {
	return fmt.Errorf("%s answers, but not as a balancer does: is it the admin address?", c.address)
}

func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}

// IsRefused reports whether err is a refusal with a status, such as 404.
func IsRefused(err error, status int) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Status == status
}
