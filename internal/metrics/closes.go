package metrics

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// closes counts the ends of sessions by cause and close code. A peer is free
// to send any code from 3000 to 4999 (RFC 6455 section 7.4.2), so labels are
// kept to the registered ones and a word for each of the other ranges:
// nobody can make the metrics grow from outside.
type closes struct {
	counts [maxCauses][codeLabels]atomic.Uint64
}

// maxCauses has room for causes to come; a test holds it against
// session.Causes.
const maxCauses = 32

// Codes that are registered, at
// https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number,
// are told apart, but for 1004 and 1015, which nothing may send or mean here.
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
	protocolCode    // and on, one for each from firstProtocolCode
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

func (c *closes) add(cause session.Cause, code uint16) {
	if cause >= maxCauses {
		cause = session.None
	}
	c.counts[cause][codeIndex(code)].Add(1)
}

var closesDesc = prometheus.NewDesc("holdfast_session_closes_total",
	"Sessions that ended, by cause and close code.", []string{"cause", "code"}, nil)

// Describe is part of prometheus.Collector.
func (c *closes) Describe(out chan<- *prometheus.Desc) { out <- closesDesc }

// Collect is part of prometheus.Collector. Only combinations that have
// happened are told: most never do.
func (c *closes) Collect(out chan<- prometheus.Metric) {
	for cause := range c.counts {
		for code := range c.counts[cause] {
			if n := c.counts[cause][code].Load(); n > 0 {
				out <- prometheus.MustNewConstMetric(closesDesc, prometheus.CounterValue, float64(n),
					session.Cause(cause).String(), codeLabel(code))
			}
		}
	}
}
