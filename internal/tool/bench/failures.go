package bench

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

// Kinds of failures. dialKind and endKind make those with a status code.
const (
	kindConnectRefused   = "connect_refused"
	kindConnectTimeout   = "connect_timeout"
	kindConnectNoPort    = "connect_no_local_port"
	kindConnectNoFile    = "connect_no_descriptor"
	kindConnect          = "connect_failed"
	kindTLS              = "tls_failed"
	kindHandshakeTimeout = "handshake_timeout"
	kindHandshakeCut     = "handshake_cut"
	kindHandshakeInvalid = "handshake_invalid"
	kindProtocol         = "protocol_error"
	kindBacklog          = "not_read_by_peer"
	kindCorrupt          = "corrupt"
	kindMisdelivered     = "misdelivered"
	kindReordered        = "reordered"
	kindDuplicate        = "duplicate"
	kindLost             = "lost"
	kindTooLate          = "too_late"
	kindTimeout          = "timeout"
	kindCloseTimeout     = "close_timeout"
)

// Failure is one kind of failure.
type Failure struct {
	Kind  string
	Count int64
	First string // description of the first one
}

type failures struct {
	mu     sync.Mutex
	byKind map[string]*Failure
}

func (f *failures) add(kind string, n int, format string, args ...any) {
	if n <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKind == nil {
		f.byKind = map[string]*Failure{}
	}
	k := f.byKind[kind]
	if k == nil {
		k = &Failure{Kind: kind, First: fmt.Sprintf(format, args...)}
		f.byKind[kind] = k
	}
	k.Count += int64(n)
}

func (f *failures) total() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.byKind {
		n += k.Count
	}
	return n
}

// list returns the failures, the most frequent first.
func (f *failures) list() []Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Failure
	for _, k := range f.byKind {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// dialKind returns the kind of an error of Dial.
func dialKind(err error) string {
	var dial *wsconn.DialError
	var status *wsconn.StatusError
	var invalid *wsconn.HandshakeError
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	var netErr net.Error
	timeout = timeout || errors.As(err, &netErr) && netErr.Timeout()
	switch {
	case errors.As(err, &dial) && dial.Step == "TLS" && !timeout:
		return kindTLS
	case errors.As(err, &dial) && timeout:
		return kindConnectTimeout
	case errors.As(err, &dial) && errors.Is(err, syscall.ECONNREFUSED):
		return kindConnectRefused
	case errors.As(err, &dial) && errors.Is(err, syscall.EADDRNOTAVAIL):
		return kindConnectNoPort
	case errors.As(err, &dial) && errors.Is(err, syscall.EMFILE):
		return kindConnectNoFile
	case errors.As(err, &dial):
		return kindConnect
	case errors.As(err, &status):
		return fmt.Sprintf("handshake_status_%d", status.Status)
	case errors.As(err, &invalid):
		return kindHandshakeInvalid
	case timeout:
		return kindHandshakeTimeout
	}
	return kindHandshakeCut
}

// tlsAdvice says what to do about an error of a TLS handshake; "" if that is clear.
func tlsAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &unknown):
		return " (--ca names a file with the authority, --insecure accepts any certificate)"
	case dialKind(err) == kindTLS && errors.Is(err, io.EOF):
		return " (the server closed the connection; does it speak TLS on this port?)"
	case errors.As(err, &record):
		return " (no TLS is spoken on this port: use ws://)"
	case errors.As(err, &alert):
		return " (the server refused the handshake; its log should say why)"
	}
	return ""
}

// endKind returns the kind of an unexpected end of a session. For 1005 and 1006,
// which mean a Close without a code and no Close at all, see RFC 6455 §7.1.5.
func endKind(err error) string {
	var closed *wsconn.CloseError
	var protocol *wsconn.ProtocolError
	switch {
	case errors.As(err, &closed):
		if closed.Code == 0 {
			return "closed_1005"
		}
		return fmt.Sprintf("closed_%d", closed.Code)
	case errors.As(err, &protocol):
		return kindProtocol
	case errors.Is(err, os.ErrDeadlineExceeded):
		return kindTimeout
	}
	return "closed_1006"
}

// endText describes err in a report.
func endText(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "the connection ended without a Close frame"
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection was reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	}
	return err.Error()
}
