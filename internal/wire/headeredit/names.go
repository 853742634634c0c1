package headeredit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Message says what is edited.
type Message bool

const (
	Request Message = false
	Answer  Message = true
)

// rule is about fields that can't be edited.
type rule struct {
	names string // separated by spaces; a "*" at the end stands for any rest
	why   string
	// sent reports whether the balancer sends them; nil means that they can't be edited
	// in any case.
	sent func(Sent) bool
}

// Sent says which fields of its own the balancer sends to backends. Of these, those that
// it doesn't send can be edited.
type Sent struct {
	XForwarded bool // X-Forwarded-For, -Proto, -Host, -Port and -Prefix
	Forwarded  bool
	XRealIP    bool
}

var (
	framing = rule{names: "connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length http2-settings",
		why: "it belongs to one connection, and the balancer sets it itself"}
	webSocket = rule{names: "sec-websocket-*", why: "it is part of the WebSocket handshake, which client and backend make with each other"}
	holdfast  = rule{names: "holdfast-*", why: "only the balancer may send it"}
	requestID = rule{names: "x-request-id", why: "forwarded: {request_id: true} sets it"}

	sentXForwarded = func(s Sent) bool { return s.XForwarded }
	sentForwarded  = func(s Sent) bool { return s.Forwarded }
	sentXRealIP    = func(s Sent) bool { return s.XRealIP }

	rules = [...][]rule{
		{framing, webSocket, holdfast, requestID,
			{"host", "rewrite: {host: NAME} of a route replaces it", nil},
			{"x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port", "the balancer sends it; to send another one, write forwarded: {x_forwarded: false}", sentXForwarded},
			{"x-forwarded-prefix", "rewrite: {path_prefix: …} of a route sets it", sentXForwarded},
			{"forwarded", "the balancer sends it; to send another one, write forwarded: {forwarded: false}", sentForwarded},
			{"x-real-ip", "the balancer sends it; to send another one, write forwarded: {x_real_ip: false}", sentXRealIP},
			{"traceparent tracestate", "forwarded: {trace_context: true} sets it where it is missing", nil},
			{"via", "http: {via: …} turns it on and off", nil},
			{"expect proxy-authorization", "it is for the balancer, and never reaches a backend", nil},
		},
		{framing, webSocket, holdfast, requestID,
			{"proxy-authenticate", "it is for proxies, and never reaches a client", nil},
		},
	}
)

// CheckName returns why fields of that name can't be edited in m, and what to do
// instead; nil if they can.
func (m Message) CheckName(name string, sent Sent) error {
	b := []byte(name)
	switch {
	case name == "":
		return errors.New("the name of the header is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	case !httphead.IsToken(b):
		return errors.New("a header's name consists of letters, digits and hyphens")
	}
	of := rules[0]
	if m == Answer {
		of = rules[1]
	}
	for _, r := range of {
		if r.sent != nil && !r.sent(sent) {
			continue
		}
		for taken := range strings.FieldsSeq(r.names) {
			prefix, isPrefix := strings.CutSuffix(taken, "*")
			if httphead.Resembles(b, taken) || isPrefix && httphead.ResemblesPrefix(b, prefix) {
				return fmt.Errorf("it can't be changed here: %s", r.why)
			}
		}
	}
	return nil
}

// Check returns why values for m can't have the variables of t, or nil.
func (m Message) Check(t Template) error {
	if m == Request && t.Uses(Backend) {
		return errors.New("${backend} is only for answers: each backend that is asked gets the same request")
	}
	return nil
}
