package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// script is a connection whose peer sends what is known before, and then ends.
type script struct {
	transport.Conn // for the methods that are not used
	from           []byte
	piece          int // the most that is read at once
	wrote          []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.from) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.from)
	s.from = s.from[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.wrote = append(s.wrote, p...)
	return len(p), nil
}

func (s *script) LocalAddr() netip.AddrPort  { return netip.MustParseAddrPort("127.0.0.1:443") }
func (s *script) RemoteAddr() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:1") }

// first is the first flight of a client.
func first(t testing.TB, config *tls.Config) []byte {
	s := &script{piece: 1}
	tls.Client(&wire{conn: s, in: newBuffer(1)}, config).Handshake()
	if len(s.wrote) == 0 {
		t.Fatal("there is no flight")
	}
	return s.wrote
}

// wantRefusal checks what is left of a handshake that can't have been completed: an
// error, and nothing but whole records. It returns the error, and whether an alert was
// sent.
func wantRefusal(t *testing.T, s *script, err error) (e *HandshakeError, alert bool) {
	t.Helper()
	e = failure(t, err)
	for b := s.wrote; len(b) > 0; {
		if len(b) < recordHeader || len(b) < recordSize(b) {
			t.Fatalf("what was written ends in the middle of a record: %x", b)
		}
		alert = b[0] == recordAlert || b[0] == recordData
		b = b[recordSize(b):]
	}
	if e.Error() == "" {
		t.Error("an error without text")
	}
	return e, alert
}

// FuzzServerHandshake: whatever a client sends, the handshake ends, with an error. The
// client gets an alert, unless its end or an alert of its own came first, or it didn't
// speak TLS.
func FuzzServerHandshake(f *testing.F) {
	p := newPKI(f)
	base := p.serverConfig()
	p.demands(base)
	config := NewConfig(base)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := p.clientConfig()
		client.MaxVersion = version
		flight := first(f, client)
		f.Add(flight, 5)
		f.Add(append(flight, "\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x20"...), 1000)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 100)
	f.Add([]byte("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), 1)
	f.Add([]byte("\x15\x03\x01\x00\x02\x02\x28"), 3)
	f.Fuzz(func(t *testing.T, flight []byte, piece int) {
		s := &script{from: flight, piece: max(1, piece)}
		_, err := Server(s, config)
		e, alert := wantRefusal(t, s, err)
		if _, fromPeer := e.Alert(); !alert && !fromPeer && e.Plain == nil && !errors.Is(err, io.EOF) {
			t.Errorf("no alert after %v", err)
		}
	})
}

// FuzzClientHandshake: the same with a server, to which crypto/tls doesn't always send
// an alert.
func FuzzClientHandshake(f *testing.F) {
	p := newPKI(f)
	config := NewConfig(p.clientConfig())
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 100)
	f.Add([]byte("\x15\x03\x01\x00\x02\x02\x28"), 3)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := p.serverConfig(), p.clientConfig()
		server.MaxVersion = version
		s := &script{from: first(f, client), piece: 1 << 20}
		Server(s, NewConfig(server))
		f.Add(s.wrote, 100)
	}
	f.Fuzz(func(t *testing.T, flight []byte, piece int) {
		s := &script{from: flight, piece: max(1, piece)}
		_, err := Client(s, config, hostport.At(s.RemoteAddr()))
		wantRefusal(t, s, err)
	})
}
