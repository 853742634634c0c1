package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// parseTarget checks a path with or without a query, as it is sent.
func parseTarget(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad path %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if err := checkAnyPath(s); err != nil {
		return bad("%v", err)
	}
	for i, c := range s {
		switch {
		case c == '%':
			if len(s) < i+3 {
				return bad("%v", errPercent)
			}
			if _, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err != nil {
				return bad("%v", errPercent)
			}
		case c == '#':
			return bad("leave out what begins with %q, it is never sent", "#")
		case !isPathChar(c) && c != '*' && c != ';' && c != '?':
			return bad("%s must be percent-encoded, as in %%20", quote(string(c)))
		}
	}
	return s, nil
}

// parseHostHeader checks the value of a Host header: a host, with or without a
// port.
func parseHostHeader(s string) (string, error) {
	if a, err := parseAddress(s, "ws.example.com:443"); err == nil && a.host != "" && a.ip.Zone() == "" {
		return a.String(), nil
	}
	if strings.HasPrefix(s, "*") {
		return "", fmt.Errorf("bad host %s: a request is for one host, write which", quote(s))
	}
	host, err := parseHost(s)
	if s == "" {
		err = errors.New("the host is empty: leave the key out to send the backend's address")
	}
	return host, err
}

// headers reads a mapping from names, which check judges, to values.
func (d *decoder) headers(n *yaml.Node, into *[][2]string, check func(string) error) {
	entries, _ := d.entries(n, "a mapping from names of headers to values")
	seen := make(map[string]place)
	for _, e := range entries {
		if err := check(e.key); err != nil {
			d.fail(e.at, "%v", err)
		} else {
			d.checkUnique(seen, "header", located[string]{strings.ToLower(e.key), e.at, true})
		}
		value, ok := d.scalar(e.value, "the value of a header")
		if !ok {
			continue
		}
		if err := checkHeaderValue(value.value); err != nil {
			d.fail(value.at, "bad value of the header %s: %v", quote(e.key), err)
		}
		*into = append(*into, [2]string{e.key, value.value})
	}
}

// checkHeaderName refuses the headers that a check sets itself: those about its
// connection and the length of what it sends (RFC 9110 section 7.6.1).
func checkHeaderName(s string) error {
	if s == "" {
		return errors.New("the name of the header is empty")
	}
	if err := checkToken(s); err != nil {
		return fmt.Errorf("bad header %s: %w", quote(s), err)
	}
	switch strings.ToLower(s) {
	case "host":
		return fmt.Errorf("bad header %s: it has a key of its own, host, beside headers", quote(s))
	case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "content-length", "upgrade":
		return fmt.Errorf("bad header %s: the check sets it where it is needed, leave it out", quote(s))
	}
	return nil
}

func checkWebSocketHeaderName(s string) error {
	if err := checkHeaderName(s); err != nil {
		return err
	}
	switch name := strings.ToLower(s); {
	case name == "sec-websocket-protocol":
		return fmt.Errorf("bad header %s: it has a key of its own, subprotocol, beside headers", quote(s))
	case strings.HasPrefix(name, "sec-websocket-"):
		return fmt.Errorf("bad header %s: the check sets it where it is needed, leave it out", quote(s))
	}
	return nil
}

// checkHeaderValue checks what RFC 9110 section 5.5 asks of a value.
func checkHeaderValue(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("longer than %d bytes", maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("control characters are not allowed")
	case strings.TrimSpace(s) != s:
		return errors.New("leave out the space around it, servers don't see it")
	}
	return nil
}
