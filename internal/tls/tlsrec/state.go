package tlsrec

import (
	"crypto/tls"
	"fmt"
)

// State is one connection after its handshake: plain data of 128 bytes without
// pointers. The zero State is no connection, see IsZero.
//
// A State may be copied, and may be given to any Layer. But it must go on in one
// place only: two copies that both seal would use the same nonces for different
// data, which breaks the encryption.
type State struct {
	secrets [2]secret
	// seq is the number of the next record, counted from the last change of keys.
	seq [2]uint64
	// place is where the ciphers are in the cache of the Layer that had the State
	// last. It may be wrong.
	place [2]uint16
	// skip is how much is still to come of a post-handshake message: its body, or
	// while its header is incomplete what is known of its length.
	skip uint32
	// header is how many of the four bytes of its header have come.
	header  uint8
	message uint8 // its type
	suite   uint8 // index into suites
	flags   uint8
	// quiet counts records since the last data.
	quiet uint8
}

const (
	flagClient = 1 << iota
	// flagClosed: the peer has sent close_notify.
	flagClosed
	// flagFailed: Open has returned another error.
	flagFailed
	// flagMute: an alert was sealed, after which nothing may be sent.
	flagMute
	// flagOwes: the peer has asked for a KeyUpdate.
	flagOwes
)

// maxWaiting is how many records were sealed or opened at most before a State is
// made. It keeps the sequence numbers far from their end.
const maxWaiting = 1 << 32

// IsZero reports whether s is no connection.
func (s *State) IsZero() bool { return s.suite == 0 }

func (s *State) suiteInfo() *suite { return &suites[s.suite] }

func (s *State) isClient() bool { return s.flags&flagClient != 0 }

// New makes the State of a connection whose handshake is done. It fails for a
// version or a suite that the package doesn't know.
func New(sec Secrets) (State, error) {
	var s State
	s.suite = suiteIndex(sec.Version, sec.Suite)
	if s.suite == 0 {
		return State{}, fmt.Errorf("tls: cipher suite %s of %s is not supported",
			tls.CipherSuiteName(sec.Suite), tls.VersionName(sec.Version))
	}
	if err := usable()[s.suite]; err != nil {
		return State{}, fmt.Errorf("tls: cipher suite %s: %w", tls.CipherSuiteName(sec.Suite), err)
	}
	if sec.Read > maxWaiting || sec.Written > maxWaiting {
		return State{}, fmt.Errorf("tls: %d records read and %d written before the end of the handshake", sec.Read, sec.Written)
	}
	s.seq[in], s.seq[out] = sec.Read, sec.Written

	suite := s.suiteInfo()
	client, server := out, in
	if sec.IsClient {
		s.flags |= flagClient
	} else {
		client, server = in, out
	}
	if suite.tls13 {
		if len(sec.ClientTraffic) != suite.hash.size() || len(sec.ServerTraffic) != suite.hash.size() {
			return State{}, fmt.Errorf("tls: traffic secrets of %d and %d bytes, must be %d",
				len(sec.ClientTraffic), len(sec.ServerTraffic), suite.hash.size())
		}
		copy(s.secrets[client][:], sec.ClientTraffic)
		copy(s.secrets[server][:], sec.ServerTraffic)
	} else {
		if len(sec.Master) != 48 || len(sec.ClientRandom) != 32 || len(sec.ServerRandom) != 32 {
			return State{}, fmt.Errorf("tls: master secret and randoms of %d, %d and %d bytes, must be 48, 32 and 32",
				len(sec.Master), len(sec.ClientRandom), len(sec.ServerRandom))
		}
		var block [2 * (maxKeySize + ivSize)]byte
		b := block[:2*(suite.keySize+suite.ivSize)]
		expandKeys(suite.hash, sec.Master, sec.ClientRandom, sec.ServerRandom, b)
		for _, d := range [...]direction{client, server} {
			b = b[copy(s.secrets[d][:suite.keySize], b):]
		}
		for _, d := range [...]direction{client, server} {
			b = b[copy(s.secrets[d][maxKeySize:][:suite.ivSize], b):]
		}
	}
	return s, nil
}

// OwesKeyUpdate reports that the peer has asked for a KeyUpdate, which the next
// Seal sends.
func (s *State) OwesKeyUpdate() bool { return s.flags&(flagOwes|flagMute) == flagOwes }

// update goes on to the next secret of a direction.
func (l *Layer) update(s *State, d direction) {
	l.cache.drop(s, d)
	s.secrets[d] = nextSecret(s.suiteInfo().hash, &s.secrets[d])
	s.seq[d] = 0
}
