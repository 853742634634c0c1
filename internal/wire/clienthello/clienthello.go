// Package clienthello reads the first message of a TLS client (RFC 8446 §4.1.2, RFC
// 5246 §7.4.1.2): the name of the server that it wants, the protocols and versions
// that it offers. So connections can be routed by name without terminating TLS: the
// bytes stay as they are for the server that does.
//
// It reads only what is needed for that. Whether the rest makes sense is for the
// server to decide. What it does read, it reads as strictly as crypto/tls, so that a
// hello never means one server here and another one there; a fuzz test compares them.
//
// With Encrypted Client Hello the name is that of the outer hello, which is the public
// one. Values of GREASE (RFC 8701) are skipped like any other unknown extension; those
// in the lists of protocols and versions are passed on.
package clienthello

import (
	"encoding/binary"
	"errors"
	"iter"
)

// MaxSize is the most bytes that a hello may take on the wire, headers of records
// included. crypto/tls takes messages of up to 64 KiB. Real ones have 200 to 2,500
// bytes.
const MaxSize = 64 << 10

var (
	// ErrMore says that the hello is well-formed so far and not complete.
	ErrMore = errors.New("the ClientHello is not complete")
	// ErrNotTLS says that the bytes are not a TLS handshake at all. It can be told by
	// the first two bytes: plain HTTP begins with a letter.
	ErrNotTLS = errors.New("not a TLS handshake")
)

// A SyntaxError says why a hello was rejected: by a phrase without the offending
// bytes. The fitting alert is decode_error (50).
type SyntaxError string

func (e SyntaxError) Error() string { return "malformed ClientHello: " + string(e) }

// Made once, so that rejecting doesn't allocate.
var (
	errType       error = SyntaxError("a record in it is not of the type handshake")
	errEmpty      error = SyntaxError("a record in it is empty")
	errLong       error = SyntaxError("a record in it is longer than 16 KiB")
	errMessage    error = SyntaxError("the first message is another one")
	errTooLarge   error = SyntaxError("it is larger than 64 KiB")
	errCut        error = SyntaxError("a field is longer than what it is in")
	errSuites     error = SyntaxError("the length of the cipher suites is odd")
	errRest       error = SyntaxError("bytes follow its end")
	errTwice      error = SyntaxError("an extension is there twice")
	errName       error = SyntaxError("server_name is malformed (RFC 6066 §3)")
	errNameTwice  error = SyntaxError("server_name has two host names")
	errNameLength error = SyntaxError("the host name in server_name is longer than 255 bytes")
	errNameByte   error = SyntaxError("the host name in server_name has a byte that is not visible ASCII")
	errNameDot    error = SyntaxError("the host name in server_name ends with a dot")
	errProtocols  error = SyntaxError("application_layer_protocol_negotiation is malformed (RFC 7301 §3.1)")
	errVersions   error = SyntaxError("supported_versions is malformed (RFC 8446 §4.2.1)")
)

// Numbers of RFC 8446 and of the registry of extensions.
const (
	recordHandshake = 22
	recordHeader    = 5
	maxRecord       = 16 << 10

	messageHello  = 1
	messageHeader = 4

	extServerName = 0
	extProtocols  = 16
	extVersions   = 43

	nameTypeHost = 0
	maxName      = 255
)

// Hello is what a ClientHello says. Its slices point into the bytes that were parsed,
// unless the hello spans several records: then they point into a copy.
type Hello struct {
	// ServerName is the host name in server_name: 1 to 255 bytes of visible ASCII
	// without a dot at its end, in the case received. It is nil if there is none.
	// Nothing says that it is a valid name, or not an address.
	ServerName []byte
	// LegacyVersion is the highest version that is offered by a client that sends no
	// supported_versions.
	LegacyVersion uint16

	protocols, versions []byte // the lists, checked
}

// Protocols lists the protocols of ALPN in the client's order of preference. Each has
// 1 to 255 bytes, of any value.
func (h *Hello) Protocols() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for list := h.protocols; len(list) > 0; list = list[1+int(list[0]):] {
			if !yield(list[1 : 1+int(list[0])]) {
				return
			}
		}
	}
}

// Offers reports whether ALPN has the protocol.
func (h *Hello) Offers(protocol string) bool {
	for p := range h.Protocols() {
		if string(p) == protocol {
			return true
		}
	}
	return false
}

// Versions lists supported_versions in the client's order of preference. It is empty
// for a client that knows only TLS 1.2 and older, see LegacyVersion.
func (h *Hello) Versions() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for list := h.versions; len(list) > 0; list = list[2:] {
			if !yield(binary.BigEndian.Uint16(list)) {
				return
			}
		}
	}
}

// Parser parses a hello that arrives in pieces. The zero Parser is ready. The caller
// keeps the bytes, which it passes on later; a Parser remembers only how far it has
// looked at them.
type Parser struct {
	seen    int // the bytes of the records that are complete
	message int // the bytes of the message in them
}

// Parse parses b, which is all that has come so far: what it had in the last call, and
// more. The error is ErrMore, ErrNotTLS or a SyntaxError. After ErrMore, b has less
// than MaxSize bytes. What follows the hello in b is ignored.
//
// It allocates nothing if the hello is in one record, and otherwise a copy of it. All
// calls together take a time that is linear in len(b).
func (p *Parser) Parse(b []byte) (Hello, error) {
	b = b[:min(len(b), MaxSize)]
	for {
		r := b[p.seen:]
		if err := p.checkHeader(r); err != nil {
			return Hello{}, err
		}
		if len(r) < recordHeader {
			return Hello{}, p.more(b)
		}
		size := int(binary.BigEndian.Uint16(r[3:]))
		if err := p.checkMessage(b, r[recordHeader:min(len(r), recordHeader+size)]); err != nil {
			return Hello{}, err
		}
		if len(r) < recordHeader+size {
			return Hello{}, p.more(b)
		}
		first := p.seen == 0
		p.seen += recordHeader + size
		p.message += size
		if p.message < messageHeader {
			continue
		}
		need := messageHeader + p.length(b)
		switch {
		case p.message < need:
		case first:
			return parseMessage(b[recordHeader+messageHeader : recordHeader+need])
		default:
			return parseMessage(gather(b[:p.seen], need)[messageHeader:])
		}
	}
}

// Parse is Parser.Parse for all that has come.
func Parse(b []byte) (Hello, error) {
	var p Parser
	return p.Parse(b)
}

// more returns ErrMore, or an error if there is no room for more.
func (p *Parser) more(b []byte) error {
	if len(b) == MaxSize {
		return errTooLarge
	}
	return ErrMore
}

// checkHeader checks as much of a record's header as there is at the beginning of r.
// The version must be ignored (RFC 8446 §5.1), but what has none of those that
// crypto/tls takes is something else.
func (p *Parser) checkHeader(r []byte) error {
	switch {
	case len(r) > 0 && r[0] != recordHandshake || len(r) > 1 && r[1] >= 0x10:
		if p.seen == 0 {
			return ErrNotTLS
		}
		return errType
	case len(r) < recordHeader:
		return nil
	}
	switch size := binary.BigEndian.Uint16(r[3:]); {
	case size == 0:
		return errEmpty
	case size > maxRecord:
		return errLong
	}
	return nil
}

// checkMessage looks at the message's header early, so that nobody waits for the rest
// of what will be rejected. fragment is what there is of the record at p.seen.
func (p *Parser) checkMessage(b, fragment []byte) error {
	if p.message == 0 && len(fragment) > 0 && fragment[0] != messageHello {
		return errMessage
	}
	if p.message < messageHeader && p.message+len(fragment) >= messageHeader {
		if p.seen+recordHeader-p.message+messageHeader+p.length(b) > MaxSize {
			return errTooLarge
		}
	}
	return nil
}

// length returns the length that the message's header says. All of the header must be
// there; usually it is in the first record.
func (p *Parser) length(b []byte) (n int) {
	for i := 0; ; b = b[recordHeader+int(binary.BigEndian.Uint16(b[3:])):] {
		end := min(len(b), recordHeader+int(binary.BigEndian.Uint16(b[3:])))
		for _, c := range b[recordHeader:end] {
			if i++; i > 1 {
				n = n<<8 | int(c)
			}
			if i == messageHeader {
				return n
			}
		}
	}
}

// gather returns the first n bytes of the message in whole records.
func gather(records []byte, n int) []byte {
	message := make([]byte, 0, n)
	for len(message) < n {
		end := recordHeader + int(binary.BigEndian.Uint16(records[3:]))
		fragment := records[recordHeader:end]
		message = append(message, fragment[:min(len(fragment), n-len(message))]...)
		records = records[end:]
	}
	return message
}
