package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	tlsHandshakesDesc = newDesc("holdfast_tls_handshakes_total",
		"TLS handshakes with clients, by result; version and resumed are of those that succeeded.", "result", "version", "resumed")
	backendTLSHandshakesDesc = newDesc("holdfast_backend_tls_handshakes_total",
		"TLS handshakes with backends, by pool and result; version and resumed are of those that succeeded.", "pool", "result", "version", "resumed")
	certificateExpiryDesc = newDesc("holdfast_certificate_expiry_timestamp_seconds",
		"When a certificate of a listener expires, in Unix time.", "cert", "name")
	certificateErrorDesc = newDesc("holdfast_certificate_file_error",
		"1 if the files of a certificate can't be used any more, so that what was read before is in use.", "cert", "name")
)

// CertificateStat has the values of one certificate of a listener.
type CertificateStat struct {
	File    string // or where else it is from
	Name    string // the first of its names
	Expires time.Time
	Bad     bool // its files can't be used any more
}

// tlsVersions are the versions that a handshake can agree on; "" is for those that
// failed.
var tlsVersions = [...]string{"", "1.2", "1.3"}

// tlsHandshakes counts TLS handshakes: by result, version and whether a session was
// resumed.
type tlsHandshakes struct {
	desc    *prometheus.Desc
	results []string
	counts  []tlsCounts // by index in results; the last is for any other
}

type tlsCounts [len(tlsVersions)][2]atomic.Uint64

func newTLSHandshakes(d *prometheus.Desc, results []string) *tlsHandshakes {
	return &tlsHandshakes{desc: d, results: results, counts: make([]tlsCounts, len(results)+1)}
}

// TLSDone counts a TLS handshake with a client. version is such as "1.3", ""
// if it failed.
func (m *Metrics) TLSDone(result, version string, resumed bool) { m.tls.done(result, version, resumed) }

// BackendTLSDone counts a TLS handshake with a backend of a pool, of any kind: for a
// session, a request or a check. The rest is as with TLSDone.
func (m *Metrics) BackendTLSDone(pool, result, version string, resumed bool) {
	m.series.get(Labels{Pool: pool}).backendTLS.done(result, version, resumed)
}

func (h *tlsHandshakes) done(result, version string, resumed bool) {
	i := 0
	for i < len(h.results) && h.results[i] != result {
		i++
	}
	v := len(tlsVersions) - 1
	for v > 0 && tlsVersions[v] != version {
		v--
	}
	r := 0
	if resumed {
		r = 1
	}
	h.counts[i][v][r].Add(1)
}

func (h *tlsHandshakes) collect(e emitter) {
	for i := range h.counts {
		result := "other"
		if i < len(h.results) {
			result = h.results[i]
		}
		for v, version := range tlsVersions {
			for r := range 2 {
				e.event(h.desc, h.counts[i][v][r].Load(), result, version, strconv.FormatBool(r == 1))
			}
		}
	}
}

func (m *Metrics) collectCertificates(e emitter) {
	seen := map[[2]string]bool{}
	for _, c := range m.src.Certificates() {
		labels := [2]string{validUTF8(c.File), validUTF8(c.Name)}
		if !seen[labels] {
			seen[labels] = true
			e.gauge(certificateExpiryDesc, float64(c.Expires.Unix()), labels[:]...)
			e.gauge(certificateErrorDesc, boolValue(c.Bad), labels[:]...)
		}
	}
}
