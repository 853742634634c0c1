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
}

var (
	framing = rule{"connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length http2-settings",
		"it belongs to one connection, and the balancer sets it itself"}
	webSocket = rule{"sec-websocket-*", "it is part of the WebSocket handshake, which client and backend make with each other"}
	holdfast  = rule{"holdfast-*", "only the balancer may send it"}
	requestID = rule{"x-request-id", "forwarded: {request_id: true} sets it"}

	rules = [...][]rule{
		{framing, webSocket, holdfast, requestID,
			{"host", "rewrite: {host: NAME} of a route replaces it"},
			{"x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port", "forwarded: {x_forwarded: …} turns it on and off"},
			{"x-forwarded-prefix", "rewrite: {path_prefix: …} of a route sets it"},
			{"forwarded", "forwarded: {forwarded: …} turns it on and off"},
			{"x-real-ip", "forwarded: {x_real_ip: …} turns it on and off; a field of another name may have ${client_ip}"},
			{"traceparent tracestate", "forwarded: {trace_context: true} sets it where it is missing"},
			{"via", "http: {via: …} turns it on and off"},
			{"expect proxy-authorization", "it is for the balancer, and never reaches a backend"},
		},
		{framing, webSocket, holdfast, requestID,
			{"proxy-authenticate", "it is for proxies, and never reaches a client"},
		},
	}
)

// CheckName returns why fields of that name can't be edited in m, and what to do
// instead; nil if they can.
func (m Message) CheckName(name string) error {
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
