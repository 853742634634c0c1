package tlsrec

import (
	"encoding/binary"
	"fmt"
)

// Content types of records, RFC 8446 §5.1.
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeData             = 23
)

// wireVersion is the version in the header of each record. TLS 1.3 has kept that of
// TLS 1.2.
const wireVersion = 0x0303

// maxQuiet is how many records without data are accepted one after the other: empty
// ones, warnings, KeyUpdates, tickets. Without a bound a peer could keep us busy for
// nothing. Ours is that of BoringSSL and OpenSSL. Data in either direction starts the
// count again, because a peer that only receives data may well change its keys.
const maxQuiet = 32

// Open opens the whole records at the beginning of src, as many as there are, and
// puts their plaintext to the beginning of dst, one after the other. dst must not
// overlap src, and be at least as long; all of it may be overwritten. It returns the
// number of bytes of plaintext and the number of bytes of src that it has used: what
// remains of src is the beginning of a record, which the caller must put before what
// comes next. No record is longer than MaxRecord.
//
// Records that are not application data are handled: a KeyUpdate changes the keys
// (and if the peer asks for ours, the next Seal sends it first), tickets are
// skipped. The error is ErrClosed after a close_notify, otherwise an *Error, for
// which SealAlert must be sent unless it is FromPeer. Plaintext that came before
// it is returned with the error. After an error Open returns no more plaintext.
func (l *Layer) Open(s *State, dst, src []byte) (plain, used int, err error) {
	if s.suite == 0 || s.flags&(flagClosed|flagFailed) != 0 {
		if s.flags&flagClosed != 0 {
			return 0, 0, ErrClosed
		}
		return 0, 0, &Error{Alert: AlertInternalError, Reason: "a connection that has failed was read again"}
	}
	for {
		record := src[used:]
		if len(record) < HeaderSize {
			return plain, used, nil
		}
		size := HeaderSize + int(binary.BigEndian.Uint16(record[3:]))
		if err := s.checkHeader(record); err != nil {
			s.flags |= flagFailed
			return plain, used, err
		}
		if len(record) < size {
			return plain, used, nil
		}
		content, kind, err := l.openRecord(s, dst[plain:], record[:size])
		if err == nil {
			used += size
			if kind == typeData && s.header == 0 {
				if len(content) > 0 {
					plain += len(content)
					s.quiet = 0
					continue
				}
			} else {
				err = l.handle(s, kind, content)
			}
			if s.quiet++; err == nil && s.quiet > maxQuiet {
				err = &Error{Alert: AlertUnexpectedMessage, Reason: fmt.Sprintf("more than %d records without data", maxQuiet)}
			}
		}
		if err == ErrClosed {
			s.flags |= flagClosed
			return plain, used, err
		}
		if err != nil {
			s.flags |= flagFailed
			return plain, used, err
		}
	}
}

// First returns the first record of src, as far as it is there.
func First(src []byte) []byte {
	if len(src) < HeaderSize {
		return src
	}
	return src[:min(len(src), HeaderSize+int(binary.BigEndian.Uint16(src[3:])))]
}

// checkHeader refuses what can't be a record before all of it has come.
func (s *State) checkHeader(header []byte) error {
	suite := s.suiteInfo()
	kind := header[0]
	if kind != typeData && (suite.tls13 || kind != typeAlert && kind != typeHandshake) {
		return &Error{Alert: AlertUnexpectedMessage, Reason: fmt.Sprintf("a record of type %d after the handshake", kind)}
	}
	// RFC 8446 §5.1 wants the version ignored. But it is part of the additional
	// data, so that a record with another one can't be opened anyway.
	if v := binary.BigEndian.Uint16(header[1:]); v != wireVersion {
		return &Error{Alert: AlertProtocolVersion, Reason: fmt.Sprintf("a record of version %#04x", v)}
	}
	if n := int(binary.BigEndian.Uint16(header[3:])); n > suite.maxPayload() {
		return &Error{Alert: AlertRecordOverflow, Reason: fmt.Sprintf("a record of %d bytes", n)}
	}
	return nil
}

// openRecord decrypts a record to the beginning of dst. It returns its content and
// its type.
func (l *Layer) openRecord(s *State, dst, record []byte) (content []byte, kind uint8, err error) {
	suite := s.suiteInfo()
	payload := record[HeaderSize:]
	size := len(payload) - suite.explicit - tagSize
	if size < 0 {
		return nil, 0, errBadRecord()
	}
	e := l.cache.get(s, in)
	l.setNonce(&e.iv, s.seq[in])
	if suite.explicit > 0 {
		payload = payload[copy(l.nonce[ivSize-suite.explicit:], payload):]
	}
	content, err = e.aead.Open(dst[:0:len(dst)], l.nonce[:], payload, l.setAdditional(suite, s.seq[in], record, size))
	if err != nil {
		return nil, 0, errBadRecord()
	}
	s.seq[in]++
	kind = record[0]
	if suite.tls13 {
		// RFC 8446 §5.2: the true type is behind the content, then padding.
		if len(content) > MaxPlaintext+1 {
			return nil, 0, errTooLong()
		}
		end := len(content) - 1
		for end >= 0 && content[end] == 0 {
			end--
		}
		if end < 0 {
			return nil, 0, &Error{Alert: AlertUnexpectedMessage, Reason: "a record that is nothing but padding"}
		}
		content, kind = content[:end], content[end]
	}
	if len(content) > MaxPlaintext {
		return nil, 0, errTooLong()
	}
	return content, kind, nil
}

func errBadRecord() error {
	return &Error{Alert: AlertBadRecordMAC, Reason: "a record can't be decrypted"}
}

func errTooLong() error {
	return &Error{Alert: AlertRecordOverflow, Reason: "a record has more than 16 KiB of plaintext"}
}

// handle acts on a record that isn't data, or that comes in the middle of a
// handshake message.
func (l *Layer) handle(s *State, kind uint8, content []byte) error {
	tls13 := s.suiteInfo().tls13
	switch {
	case kind != typeHandshake && s.header > 0:
		// RFC 8446 §5.1.
		return unexpected("a record of type %d in the middle of a handshake message", kind)
	case kind == typeAlert:
		return alert(content, tls13)
	case kind != typeHandshake:
		return unexpected("a record with content of type %d after the handshake", kind)
	case len(content) == 0:
		return &Error{Alert: AlertUnexpectedMessage, Reason: "an empty handshake record"}
	case tls13:
		return l.handshake(s, content)
	}
	// TLS 1.2 has no messages after the handshake but those that begin another
	// one. It is refused as by crypto/tls, RFC 5246 §7.2.2.
	const helloRequest, clientHello = 0, 1
	if m := content[0]; s.isClient() && m == helloRequest || !s.isClient() && m == clientHello {
		return &Error{Alert: AlertNoRenegotiation, Reason: "the peer wants to renegotiate"}
	}
	return unexpected("a handshake message of type %d after the handshake", content[0])
}

func unexpected(format string, number any) error {
	return &Error{Alert: AlertUnexpectedMessage, Reason: fmt.Sprintf(format, number)}
}

// Handshake messages of TLS 1.3 that come after the handshake, RFC 8446 §4.6.
const (
	messageTicket    = 4
	messageKeyUpdate = 24
)

// maxTicket is the length of the longest NewSessionTicket, RFC 8446 §4.6.1: lifetime
// and age, nonce, ticket, extensions.
const maxTicket = 4 + 4 + 1 + 0xff + 2 + 0xffff + 2 + 0xfffe

// handshake goes through the content of a handshake record of TLS 1.3. A message may
// begin and end anywhere in records, and its header too may be in two of them.
func (l *Layer) handshake(s *State, content []byte) error {
	for len(content) > 0 {
		b := content[0]
		switch {
		case s.header == 0:
			if b != messageKeyUpdate && (b != messageTicket || !s.isClient()) {
				return unexpected("a handshake message of type %d after the handshake", b)
			}
			s.message, s.skip = b, 0
			s.header++
			content = content[1:]
		case s.header < 4:
			s.skip = s.skip<<8 | uint32(b)
			content = content[1:]
			if s.header++; s.header < 4 {
				continue
			}
			if s.message == messageTicket && s.skip > maxTicket || s.message == messageKeyUpdate && s.skip != 1 {
				return &Error{Alert: AlertDecodeError, Reason: fmt.Sprintf("a handshake message of type %d with %d bytes", s.message, s.skip)}
			}
			if s.skip == 0 {
				s.header = 0
			}
		case s.message == messageTicket:
			n := min(int(s.skip), len(content))
			content = content[n:]
			if s.skip -= uint32(n); s.skip == 0 {
				s.header = 0
			}
		default:
			s.header, s.skip = 0, 0
			return l.keyUpdate(s, content)
		}
	}
	return nil
}

// keyUpdate acts on a KeyUpdate of the peer, RFC 8446 §4.6.3. content is what the
// record has from its body on.
func (l *Layer) keyUpdate(s *State, content []byte) error {
	if len(content) > 1 {
		// RFC 8446 §5.1: what follows has other keys, so it must be in another
		// record.
		return unexpected("%d bytes behind a KeyUpdate in its record", len(content)-1)
	}
	switch content[0] {
	case 0:
	case 1:
		// The answer waits until there is data to send, so that a peer that asks
		// many times gets one.
		s.flags |= flagOwes
	default:
		return &Error{Alert: AlertIllegalParameter, Reason: fmt.Sprintf("a KeyUpdate with request_update %d", content[0])}
	}
	l.update(s, in)
	return nil
}
