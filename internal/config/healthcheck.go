package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// HTTPCheck is a GET request that must be answered with one of Expect.
type HTTPCheck struct {
	Path   string        // begins with "/", may have a query
	Expect []StatusRange // at least one; none has 503 in it
	Host   string        // the Host header; "" is the backend's address
	// Headers are names and values, in the order of the file.
	Headers [][2]string
}

// StatusRange is a range of HTTP status codes, 200 to 599.
type StatusRange struct{ From, To int }

// WebSocketCheck is a WebSocket handshake, something sent, its answer, and a
// clean close.
type WebSocketCheck struct {
	Path        string // begins with "/", may have a query
	Host        string // the Host header; "" is the backend's address
	Headers     [][2]string
	Subprotocol string // a token; "" offers none
	// Send is "ping" for a ping frame, and then Expect is "pong". Otherwise
	// both are the text of a message; Send "" sends nothing and waits for what
	// the backend says first.
	Send, Expect string
}

// AgentCheck asks a program beside the backend for its load, as HAProxy's
// agent-check does.
type AgentCheck struct {
	Port int    // 1 to 65535, on the backend's host
	Send string // what to write first; "" is nothing
}

var httpKeys = []key[HTTPCheck]{
	{name: "path", missing: "the check has no path: write for example path: /health", read: func(d *decoder, n *yaml.Node, c *HTTPCheck) {
		d.parsed(n, &c.Path, "a path such as /health", parseTarget)
	}},
	{name: "expect", read: func(d *decoder, n *yaml.Node, c *HTTPCheck) {
		d.statuses(n, &c.Expect)
	}},
	{name: "host", read: func(d *decoder, n *yaml.Node, c *HTTPCheck) {
		d.parsed(n, &c.Host, "a host such as ws.example.com", parseHostHeader)
	}},
	{name: "headers", read: func(d *decoder, n *yaml.Node, c *HTTPCheck) {
		d.headers(n, &c.Headers, checkHeaderName)
	}},
}

type webSocketDraft struct {
	WebSocketCheck
	send, expect located[string]
}

// readWebSocketCheck reads a check and looks at how send and expect go
// together: a check that waits for what cannot come takes out every backend.
func readWebSocketCheck(d *decoder, n *yaml.Node) *WebSocketCheck {
	c := webSocketDraft{send: located[string]{value: "ping", ok: true}, expect: located[string]{value: "pong", ok: true}}
	misspelt, _ := readMapping(d, n, "a mapping with path", d.at(n), webSocketKeys, &c)
	ping, pong := c.send.value == "ping", c.expect.value == "pong"
	switch {
	case !c.send.ok || !c.expect.ok || ping == pong:
	case pong && c.expect.at == place{} && !slices.Contains(misspelt, "expect"):
		d.fail(c.send.at, "it isn't said what to wait for: add expect: with the text that the backend sends")
	case pong && c.expect.at != place{}:
		d.fail(c.expect.at, "a pong answers only send: ping: write the text that the backend sends")
	case ping && !slices.Contains(misspelt, "send"):
		d.fail(c.expect.at, "a ping is answered by a pong: add send: with the text that %s answers, or send: \"\" if it comes by itself", quote(c.expect.value))
	}
	c.Send, c.Expect = c.send.value, c.expect.value
	return &c.WebSocketCheck
}

var webSocketKeys = []key[webSocketDraft]{
	{name: "path", missing: "the check has no path: write for example path: /ws", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.parsed(n, &c.Path, "a path such as /ws", parseTarget)
	}},
	{name: "send", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.message(n, &c.send, true)
	}},
	{name: "expect", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.message(n, &c.expect, false)
	}},
	{name: "host", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.parsed(n, &c.Host, "a host such as ws.example.com", parseHostHeader)
	}},
	{name: "headers", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.headers(n, &c.Headers, checkWebSocketHeaderName)
	}},
	{name: "subprotocol", read: func(d *decoder, n *yaml.Node, c *webSocketDraft) {
		d.parsed(n, &c.Subprotocol, "a subprotocol such as chat.v1", parseSubprotocol)
	}},
}

var agentKeys = []key[AgentCheck]{
	{name: "port", missing: "the agent has no port: write for example port: 8081", read: func(d *decoder, n *yaml.Node, c *AgentCheck) {
		d.integer(n, &c.Port, 1, 65535)
	}},
	{name: "send", read: func(d *decoder, n *yaml.Node, c *AgentCheck) {
		d.parsed(n, &c.Send, "a text", parseText)
	}},
}

// maxText bounds what checks send and expect, and the values of headers, in
// bytes.
const maxText = 4096

func parseText(s string) (string, error) {
	if len(s) > maxText {
		return "", fmt.Errorf("the text is longer than %d bytes", maxText)
	}
	return s, nil
}

// message reads "ping", "pong" or the text of a message. empty says whether it
// may be empty.
func (d *decoder) message(n *yaml.Node, into *located[string], empty bool) {
	into.at, into.ok = d.at(n), false
	text, ok := d.scalar(n, "ping, pong or the text of a message")
	if !ok {
		return
	}
	value, err := parseText(text.value)
	if err == nil && value == "" && !empty {
		err = errors.New("the text is empty: write one, or leave the key out")
	}
	if err != nil {
		d.fail(text.at, "%v", err)
		return
	}
	into.value, into.ok = value, true
}

func parseSubprotocol(s string) (string, error) {
	if s == "" {
		return "", errors.New("the subprotocol is empty: leave the key out to offer none")
	}
	if err := checkToken(s); err != nil { // RFC 6455 section 4.1
		return "", fmt.Errorf("bad subprotocol %s: %w", quote(s), err)
	}
	return s, nil
}

// statuses reads one or a list of status codes and ranges of them. It leaves
// into alone when there is a mistake.
func (d *decoder) statuses(n *yaml.Node, into *[]StatusRange) {
	const expected = `a status such as 200 or a range such as "200-299"`
	items, ok := d.oneOrMore(n, expected, "no status is expected")
	var list []StatusRange
	for _, item := range items {
		text, isText := d.scalar(item, expected)
		if !isText {
			ok = false
			continue
		}
		s, err := parseStatus(text.value)
		if err != nil {
			d.fail(text.at, "%v", err)
			ok = false
		}
		list = append(list, s)
	}
	if ok {
		*into = list
	}
}

// An answer's status codes; those below are interim (RFC 9110 section 15.2).
const (
	minStatus = 200
	maxStatus = 599
	// draining is what a backend answers that wants no new sessions.
	draining = 503
)

func parseStatus(s string) (StatusRange, error) {
	bad := func(why string, args ...any) (StatusRange, error) {
		return StatusRange{}, fmt.Errorf("bad status %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if len(s) == 3 && s[0] >= '2' && s[0] <= '5' && strings.EqualFold(s[1:], "xx") {
		return bad("write the range as %q", s[:1]+"00-"+s[:1]+"99")
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	r := StatusRange{statusCode(first), statusCode(last)}
	switch {
	case r.From == 0 || r.To == 0:
		return bad("want a number from %d to %d, or a range such as %q", minStatus, maxStatus, "200-299")
	case r.From > r.To:
		return bad("the range is empty, did you mean %q?", last+"-"+first)
	case r.From <= draining && draining <= r.To:
		return bad("%d always says that a backend is draining, leave it out, as in [200-502, 504-599]", draining)
	}
	return r, nil
}

// statusCode is 0 if s is no status code.
func statusCode(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < minStatus || n > maxStatus {
		return 0
	}
	return n
}
