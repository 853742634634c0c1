package metrics

import (
	"strconv"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/session"
)

var closesDesc = newSeriesDesc("holdfast_session_closes_total",
	"Sessions that ended, by cause and close code.", "cause", "code")

// closes counts the ends of sessions by cause and close code. A peer can send
// any code from 3000 to 4999 (RFC 6455 §7.4.2), so there is a label for each
// registered code and one for each other range. Otherwise a peer could create
// any number of series.
//
// Most causes never occur with a backend; their counters are allocated at the
// first event.
type closes struct {
	counts [maxCauses]atomic.Pointer[[codeLabels]atomic.Uint64]
}

// maxCauses is more than there are; a test compares it with session.Causes.
const maxCauses = 32

// The codes registered at
// https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number
// have a label each, except 1004, which is reserved, and 1015, which can't occur.
const (
	firstProtocolCode = 1000
	lastProtocolCode  = 1014
)

// registeredAbove are the registered codes from 3000 on: unauthorized,
// forbidden, timeout.
var registeredAbove = [...]uint16{3000, 3003, 3008}

const (
	noCode = iota
	otherCode
	libraryCode     // 3000-3999: libraries, frameworks and applications
	applicationCode // 4000-4999: private use
	protocolCode    // the first of one for each code from firstProtocolCode
	aboveCode       = protocolCode + lastProtocolCode - firstProtocolCode + 1
	codeLabels      = aboveCode + len(registeredAbove)
)

func codeIndex(code uint16) int {
	for i, c := range registeredAbove {
		if code == c {
			return aboveCode + i
		}
	}
	switch {
	case code == 0:
		return noCode
	case code == 1004:
		return otherCode
	case code >= firstProtocolCode && code <= lastProtocolCode:
		return protocolCode + int(code-firstProtocolCode)
	case code >= 3000 && code <= 3999:
		return libraryCode
	case code >= 4000 && code <= 4999:
		return applicationCode
	default:
		return otherCode
	}
}

func codeLabel(index int) string {
	switch index {
	case noCode:
		return "none"
	case otherCode:
		return "other"
	case libraryCode:
		return "3xxx"
	case applicationCode:
		return "4xxx"
	}
	if index >= aboveCode {
		return strconv.Itoa(int(registeredAbove[index-aboveCode]))
	}
	return strconv.Itoa(firstProtocolCode + index - protocolCode)
}

// SessionClosed counts the end of a session. code is session.Summary.Code.
func (m *Metrics) SessionClosed(l Labels, cause session.Cause, code uint16) {
	m.series.get(l).closes.add(cause, code)
}

func (c *closes) add(cause session.Cause, code uint16) {
	if cause >= maxCauses {
		cause = session.None
	}
	codes := c.counts[cause].Load()
	if codes == nil {
		c.counts[cause].CompareAndSwap(nil, new([codeLabels]atomic.Uint64))
		codes = c.counts[cause].Load()
	}
	codes[codeIndex(code)].Add(1)
}

func (c *closes) collect(e emitter) {
	for cause := range c.counts {
		codes := c.counts[cause].Load()
		if codes == nil {
			continue
		}
		for code := range codes {
			if n := codes[code].Load(); n > 0 {
				e.counter(closesDesc, n, session.Cause(cause).String(), codeLabel(code))
			}
		}
	}
}
