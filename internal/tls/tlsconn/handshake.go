package tlsconn

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// handshake makes one handshake after another by crypto/tls, and is the hooks that
// crypto/tls calls in it. The secrets that it gets that way go to the State of the
// connection and nowhere else.
type handshake struct {
	of       *Config
	config   *tls.Config // of this handshake alone
	tls      *tls.Conn
	isClient bool
	addr     string // of the server, for a client
	wire     wire

	clientTraffic, serverTraffic secret // of TLS 1.3
	master                       secret // of TLS 1.2
}

// secret is a secret of a handshake; n is 0 if there is none.
type secret struct {
	b [48]byte
	n int
}

func (s *secret) bytes() []byte { return s.b[:s.n] }

func (s *secret) set(b []byte) { s.n = copy(s.b[:], b) }

// Server makes the handshake on c as the server, within the deadline of c. After an
// error, c is still the caller's, and the peer has got an alert if possible. The
// error is a *HandshakeError.
func Server(c transport.Conn, cfg *Config) (*Conn, error) {
	h := cfg.take()
	h.isClient = false
	h.wire.begin(c, false)
	// Only now does it cost time, and nothing has to be waited for. What isn't TLS costs
	// none.
	err := h.wire.awaitHello()
	if err == nil && h.wire.in.bytes()[0] == recordHandshake {
		err = transport.AwaitTurn(c)
	}
	if err != nil {
		err = h.failed(err)
		h.giveBack()
		return nil, err
	}
	if cfg.isChallenge(h.wire.in.bytes()) {
		h.config.NextProtos = []string{cfg.challenge}
	}
	return h.run(c, tls.Server(&h.wire, h.config))
}

// Client makes the handshake on c as the client. Like a server it does what takes long at
// its turn, so that a backend that is lost with many sessions doesn't stop the others while
// these are moved. The tickets that are kept for a
// resumption are those that the server at addr has sent. The rest is as with Server.
func Client(c transport.Conn, cfg *Config, addr hostport.Endpoint) (*Conn, error) {
	h := cfg.take()
	h.isClient = true
	h.wire.begin(c, true)
	if err := transport.AwaitTurn(c); err != nil { // for the key of the ClientHello
		failed := h.failed(err)
		h.giveBack()
		return nil, failed
	}
	if h.config.ClientSessionCache != nil {
		h.addr = addr.String()
	}
	return h.run(c, tls.Client(&h.wire, h.config))
}

func (h *handshake) run(c transport.Conn, conn *tls.Conn) (*Conn, error) {
	if err := conn.Handshake(); err != nil {
		failed := h.failed(err)
		failed.ServerName = conn.ConnectionState().ServerName
		h.giveBack()
		return nil, failed
	}
	cs := conn.ConnectionState()
	state, err := h.state(&cs)
	if err != nil {
		err = &HandshakeError{Err: err}
		h.giveBack()
		return nil, err
	}
	l := &link{state: state, facts: factsOf(&cs, h.isClient), isClient: h.isClient}
	l.cipher = h.wire.end()
	if h.isClient && cs.Version == tls.VersionTLS13 && h.config.ClientSessionCache != nil {
		// In TLS 1.3 tickets come after the handshake.
		h.tls, l.tickets = conn, h
	} else {
		h.giveBack()
	}
	return &Conn{inner: c, link: l}, nil
}

// state makes the State of the connection from what was seen of the handshake.
func (h *handshake) state(cs *tls.ConnectionState) (tlsrec.State, error) {
	w := &h.wire
	if w.odd {
		return tlsrec.State{}, errOdd
	}
	sec := tlsrec.Secrets{Version: cs.Version, Suite: cs.CipherSuite, IsClient: h.isClient}
	if cs.Version == tls.VersionTLS13 {
		sec.ClientTraffic, sec.ServerTraffic = h.clientTraffic.bytes(), h.serverTraffic.bytes()
		sec.Written = w.written
	} else {
		client, server := &w.heard, &w.said
		if h.isClient {
			client, server = server, client
		}
		sec.Master, sec.ClientRandom, sec.ServerRandom = h.master.bytes(), client.random[:], server.random[:]
		sec.Read, sec.Written = w.recordsIn, w.recordsOut
	}
	return tlsrec.New(sec)
}

// factsOf is what the handshake has agreed on.
func factsOf(cs *tls.ConnectionState, isClient bool) *transport.TLS {
	f := &transport.TLS{
		Version: cs.Version, Suite: cs.CipherSuite, Resumed: cs.DidResume,
		ServerName: cs.ServerName, Protocol: cs.NegotiatedProtocol,
	}
	if len(cs.VerifiedChains) > 0 || isClient && len(cs.PeerCertificates) > 0 {
		f.Certificate = cs.PeerCertificates[0]
	}
	return f
}

// Write is for KeyLogWriter: a line has a label, the client's random and a secret. It
// is called within the handshake, before the secret is used. crypto/tls holds a lock
// of the process meanwhile, so it must not wait for anything.
func (h *handshake) Write(line []byte) (int, error) {
	label, rest, _ := bytes.Cut(line, []byte{' '})
	_, text, _ := bytes.Cut(bytes.TrimSpace(rest), []byte{' '})
	var s *secret
	switch string(label) {
	case "CLIENT_TRAFFIC_SECRET_0":
		s = &h.clientTraffic
	case "SERVER_TRAFFIC_SECRET_0":
		s = &h.serverTraffic
	case "CLIENT_RANDOM":
		s = &h.master
	default:
		return len(line), nil
	}
	if hex.DecodedLen(len(text)) > len(s.b) {
		return 0, errors.New("a secret is too long")
	}
	n, err := hex.Decode(s.b[:], text)
	if err != nil {
		return 0, err
	}
	s.n = n
	if s == &h.clientTraffic && h.isClient || s == &h.serverTraffic && !h.isClient {
		h.wire.secret = s.bytes()
	}
	return len(line), nil
}

// feed gives the kept tls.Conn a copy of a record that came after the handshake, and
// reports whether it may get more. Its keys and its sequence number are right, since
// it has got all records so far. A ticket goes to the ClientSessionCache.
func (h *handshake) feed(record []byte) bool {
	w := &h.wire
	w.in = newBuffer(len(record))
	w.in.to = copy(w.in.b, record)
	var nothing [1]byte
	_, err := h.tls.Read(nothing[:])
	w.in.free()
	w.in = nil
	return errors.Is(err, errAgain)
}
