package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Health says how a pool finds out which of its backends are well. HTTP,
// WebSocket, TCP and Agent are active checks, which all must pass; without any
// of them, only the outcome of handshakes counts.
type Health struct {
	HTTP      *HTTPCheck      `key:"http" want:"a mapping with path"`      // nil: none
	WebSocket *WebSocketCheck `key:"websocket" want:"a mapping with path"` // nil: none
	TCP       bool            `key:"tcp"`                                  // a connection can be opened
	Agent     *AgentCheck     `key:"agent" want:"a mapping with port"`     // nil: none

	// Port is where the checks connect to, except Agent; 0 is the port of the backend.
	Port int `key:"port" zero:"unset" range:"1..65535"`

	Interval time.Duration `key:"interval"`            // between two checks of a backend, more than Timeout
	Timeout  time.Duration `key:"timeout"`             // of one check
	Fall     int           `key:"fall" range:"1..100"` // failures in a row until a backend is down
	Rise     int           `key:"rise" range:"1..100"` // passes in a row until it is up again

	// MaxFails is how many handshakes may fail in a row before a backend gets
	// none for FailTimeout; 0 is off.
	MaxFails    int           `key:"max_fails" range:"0..1000"`
	FailTimeout time.Duration `key:"fail_timeout"`

	// MinHealthy: if fewer backends than that are well, health is ignored.
	MinHealthy Share `key:"min_healthy" want:"a number of backends or a percentage such as \"50%\""`
	// SlowStart is how long a backend that joins or returns takes to get its
	// full share.
	SlowStart time.Duration `key:"slow_start" range:"0|1ms..1h"`
	// OnDown is what happens to the sessions of a backend that an active check takes
	// down: "keep" leaves them alone, "close" ends them.
	OnDown string `key:"on_down" words:"keep close"`
}

func defaultHealth() Health {
	return Health{
		Interval: 10 * time.Second, Timeout: 2 * time.Second, Fall: 3, Rise: 2,
		MaxFails: 3, FailTimeout: 30 * time.Second, OnDown: "keep",
	}
}

// Active reports whether there is an active check.
func (h *Health) Active() bool {
	return h.HTTP != nil || h.WebSocket != nil || h.TCP || h.Agent != nil
}

// HTTPCheck is a request without a body that must be answered with one of Expect.
type HTTPCheck struct {
	Path    string        `key:"path" as:"target" want:"a path such as /health"`
	Method  string        `key:"method" as:"check method"`
	Expect  []StatusRange `key:"expect" item:"a status such as 200 or a range such as \"200-299\"" some:"no status is expected"` // none has 503 in it
	Host    string        `key:"host" as:"host header"`                                                                          // "" is the backend's address
	Body    string        `key:"body" as:"text"`                                                                                 // that the answer's body must have in it; "" is any
	Headers Headers       `key:"headers" want:"a mapping from names of headers to values" item:"the value of a header"`
}

// SetDefaults implements Defaulter.
func (c *HTTPCheck) SetDefaults() { c.Method, c.Expect = "GET", []StatusRange{{200, 200}} }

// checkMethod checks the method of a check. CONNECT asks for a tunnel.
func checkMethod(s string) error {
	switch {
	case s == "":
		return errors.New("the method is empty: leave the key out for GET")
	case !requestkey.IsToken(s):
		return fmt.Errorf("bad method %s: write for example HEAD", hint.Quote(s))
	case strings.ToUpper(s) != s:
		return fmt.Errorf("bad method %s: methods are in capital letters, as in %s", hint.Quote(s), hint.Quote(strings.ToUpper(s)))
	case s == "CONNECT":
		return errors.New("CONNECT asks for a tunnel, whose answer says nothing about a backend's health: write another method, such as HEAD")
	}
	return nil
}

// Headers are names and values of header fields, in their order. It is an alias so
// that a check can be converted to that of upstream/health as a whole.
type Headers = [][2]string

// WebSocketCheck is a WebSocket handshake, something sent, its answer, and a
// clean close.
type WebSocketCheck struct {
	Path string `key:"path" as:"target" want:"a path such as /ws"`
	// Send is "ping" for a ping frame, and then Expect is "pong". Otherwise
	// both are the text of a message; Send "" sends nothing and waits for what
	// the backend says first.
	Send        string  `key:"send" as:"message"`
	Expect      string  `key:"expect" as:"message"`
	Host        string  `key:"host" as:"host header"` // "" is the backend's address
	Headers     Headers `key:"headers" want:"a mapping from names of headers to values" item:"the value of a header"`
	Subprotocol string  `key:"subprotocol" as:"subprotocol"` // "" offers none
}

// SetDefaults implements Defaulter.
func (c *WebSocketCheck) SetDefaults() { c.Send, c.Expect = "ping", "pong" }

// AgentCheck asks a program beside the backend for its load, as HAProxy's
// agent-check does.
type AgentCheck struct {
	Port int    `key:"port" zero:"unset" range:"1..65535"` // on the backend's host
	Send string `key:"send" as:"text"`                     // to write first; "" is nothing
}

func (v *Validator) health(p Path, h *Health) {
	if !h.Active() && v.OK(p) {
		for _, key := range []string{"port", "interval", "timeout", "fall", "rise", "on_down"} {
			if v.Given(p.Key(key)) {
				v.Warn(p.Key(key), "%s does nothing without a check: add http, websocket, tcp or agent, or leave it out", key)
			}
		}
	}
	if at := p.Key("port"); h.Agent != nil && h.HTTP == nil && h.WebSocket == nil && !h.TCP && v.Given(at) && v.OK(at) {
		v.Warn(at, "port does nothing for an agent, which has a port of its own: leave it out, or add http, websocket or tcp")
	}
	if p := p.Key("http"); h.HTTP != nil && v.OK(p) {
		v.Require(p.Key("path"), h.HTTP.Path != "", "the check has no path: write for example path: /health")
		for i, s := range h.HTTP.Expect {
			if _, err := ParseStatus(s.String()); err != nil && v.OK(p.Key("expect").Index(i)) {
				v.Fail(p.Key("expect").Index(i), "%v", err)
			}
		}
		v.headers(p.Key("headers"), h.HTTP.Headers, checkHeaderName)
		if method := p.Key("method"); h.HTTP.Method == "" && v.OK(method) { // of a program
			h.HTTP.Method = "GET"
		}
		if body := p.Key("body"); v.OK(body) && v.OK(p.Key("method")) {
			switch text, written := v.source.Text(body); {
			case written && text == "":
				v.Fail(body, "the text is empty: write one, or leave the key out")
			case h.HTTP.Body != "" && h.HTTP.Method == "HEAD": // RFC 9110 section 9.3.2
				v.Fail(body, "an answer to HEAD has no body: leave body out, or write method: GET")
			}
		}
	}
	if p := p.Key("websocket"); h.WebSocket != nil && v.OK(p) {
		v.webSocketCheck(p, h.WebSocket)
	}
	if p := p.Key("agent"); h.Agent != nil {
		v.Require(p.Key("port"), h.Agent.Port != 0, "the agent has no port: write for example port: 8081")
	}

	interval, timeout := p.Key("interval"), p.Key("timeout")
	if !v.OK(interval) || !v.OK(timeout) || h.Timeout < h.Interval {
		return
	}
	switch {
	case v.Given(interval) == v.Given(timeout):
		v.Fail(timeout, "the timeout of %s must be shorter than the interval of %s", Duration(h.Timeout), Duration(h.Interval))
	case v.Given(timeout):
		v.Fail(timeout, "the timeout of %s must be shorter than the interval, which is %s if left out: add a longer interval", Duration(h.Timeout), Duration(h.Interval))
	default:
		v.Fail(interval, "the interval of %s must be longer than the timeout, which is %s if left out: add a shorter timeout", Duration(h.Interval), Duration(h.Timeout))
	}
}

// webSocketCheck looks at how send and expect go together: a check that waits
// for an answer that cannot come takes out every backend.
func (v *Validator) webSocketCheck(p Path, c *WebSocketCheck) {
	v.Require(p.Key("path"), c.Path != "", "the check has no path: write for example path: /ws")
	v.headers(p.Key("headers"), c.Headers, checkWebSocketHeaderName)
	send, expect := p.Key("send"), p.Key("expect")
	ping, pong := c.Send == "ping", c.Expect == "pong"
	switch {
	case !v.OK(send) || !v.OK(expect):
	case c.Expect == "":
		v.Fail(expect, "the text is empty: write one, or leave the key out")
	case ping == pong:
	case pong && !v.Given(expect) && v.Given(send):
		v.Fail(send, "the answer to wait for is missing: add expect: with the text that the backend sends")
	case pong:
		v.Fail(expect, "a pong answers only send: ping: write the text that the backend sends")
	default:
		v.Fail(expect, "a ping is answered by a pong: add send: with the text that %s answers, or send: \"\" if it comes by itself", hint.Quote(c.Expect))
	}
}

// headers checks names, which check judges, and values. The path of an item is
// its name's, and that of its value has the key "value".
func (v *Validator) headers(p Path, headers Headers, check func(string) error) {
	if !v.OK(p) {
		return
	}
	for i, h := range headers {
		if err := check(h[0]); err != nil {
			v.Fail(p.Index(i), "%v", err)
		}
		if value := p.Index(i).Key("value"); v.OK(value) {
			if err := checkHeaderValue(h[1]); err != nil {
				v.Fail(value, "bad value of the header %s: %v", hint.Quote(h[0]), err)
			}
		}
	}
	v.distinct("header", p, len(headers), func(i int) string { return strings.ToLower(headers[i][0]) })
}
