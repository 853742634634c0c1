// Package tlsrec is the record layer of TLS 1.2 (RFC 5246) and TLS 1.3 (RFC 8446)
// after the handshake, which crypto/tls makes. A State is one connection: plain
// data of a fixed size, without pointers, so that an idle connection costs nothing
// else and could be handed to another process. A Layer is what opens and seals the
// records of many: an event loop has one.
//
// The package imports nothing of the balancer's, does no I/O and knows no sockets.
package tlsrec

import "errors"

// Record sizes, in bytes.
const (
	HeaderSize = 5
	// MaxPlaintext is the most that a record carries, RFC 8446 §5.1.
	MaxPlaintext = 16 << 10
	// MaxRecord is the largest record on the wire: RFC 5246 §6.2.3 allows 2048
	// bytes beyond the plaintext, RFC 8446 §5.2 256.
	MaxRecord = HeaderSize + MaxPlaintext + 2048
	// MaxOverhead is by how much a sealed record of ours is longer than its
	// plaintext.
	MaxOverhead = HeaderSize + 8 + 1 + 16
)

// Secrets is what a handshake has agreed on. New doesn't retain the slices.
type Secrets struct {
	Version uint16 // tls.VersionTLS12 or tls.VersionTLS13
	Suite   uint16
	// IsClient means that we are the client of the connection.
	IsClient bool

	// Of TLS 1.3: the application traffic secrets of the client and the server.
	ClientTraffic, ServerTraffic []byte
	// Of TLS 1.2.
	Master, ClientRandom, ServerRandom []byte

	// Read and Written are how many records were already opened and sealed with
	// these keys: in TLS 1.2 the Finished, in TLS 1.3 a server's tickets.
	Read, Written uint64
}

// ErrClosed is what Open returns after close_notify: the peer sends nothing more.
var ErrClosed = errors.New("tls: the peer has closed its side")

// Error is why a connection can't go on.
type Error struct {
	// Alert is what the peer must be told, or what it told us. Its descriptions
	// are in RFC 8446 §6.
	Alert uint8
	// FromPeer means that the peer sent the alert, so that nothing is sent back.
	FromPeer bool
	// Reason is what went wrong, in words of ours: it has nothing that the peer
	// has chosen but numbers.
	Reason string
}
