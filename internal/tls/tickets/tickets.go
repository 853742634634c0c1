// Package tickets has the keys of session tickets (RFC 8446 §4.6.1, RFC 5077), by
// which clients resume sessions without a full handshake. They survive reloads, and
// balancers that are given the same secret share them without talking to each other.
//
// crypto/tls encrypts a ticket by the keys of the Config that makes the handshake. A
// Config is replaced by a reload and copied for other reasons, and each copy would
// have keys of its own. So one Config that lives as long as the Keys has the keys, and
// all others use it by WrapSession and UnwrapSession.
package tickets

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// period is how long tickets are made with one key that is derived of a secret.
	// All balancers change it at the same time, by the clock.
	period = 12 * time.Hour
	// before is how many older keys are accepted: a ticket is good for at least a
	// day. The next key is accepted, too, since the clock of another balancer may be
	// ahead.
	before = 2
)

// Keys are those of one listener, or of all that have the same secret. They are safe
// for concurrent use and don't block.
type Keys struct {
	secret []byte // a hash of it; nil: random keys
	now    func() time.Time
	holder *tls.Config // has the keys

	mu      sync.Mutex // guards current
	current int64      // the number of the period that holder's keys are for
}

// New makes Keys of a secret. Without one they are random; crypto/tls makes a new one
// every day, and accepts it for a week. now is the clock; nil means time.Now.
func New(secret string, now func() time.Time) *Keys {
	if now == nil {
		now = time.Now
	}
	k := &Keys{now: now, holder: &tls.Config{Time: now}, current: -1}
	if secret != "" {
		sum := sha256.Sum256([]byte(secret)) // of any length: FIPS 140 forbids short keys
		k.secret = sum[:]
	}
	return k
}

// SetUp makes c, which must not be in use yet, use the keys. A ticket that was made
// with another binding isn't accepted: it holds what the handshake has verified, and a
// client must not get round stricter rules by a session from before. The binding must
// be the same on balancers that share tickets.
func (k *Keys) SetUp(c *tls.Config, binding []byte) {
	sum := sha256.Sum256(binding)
	c.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ss.Extra = append(ss.Extra, bound(sum, &cs))
		return k.config().EncryptTicket(cs, ss)
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		ss, err := k.config().DecryptTicket(ticket, cs)
		if ss == nil || err != nil {
			return nil, err
		}
		for _, e := range ss.Extra {
			if bytes.Equal(e, bound(sum, &cs)) {
				return ss, nil
			}
		}
		return nil, nil // a full handshake
	}
}

// bound adds the name that the client asked for: a session of one name must not be
// resumed for another (RFC 6066 §3), which may need a certificate that is refused.
func bound(binding [sha256.Size]byte, cs *tls.ConnectionState) []byte {
	sum := sha256.Sum256(append(binding[:], cs.ServerName...))
	return append([]byte("holdfast 1 "), sum[:]...) // others may add to Extra, too
}

// config returns holder with the keys of now.
func (k *Keys) config() *tls.Config {
	if k.secret == nil {
		return k.holder
	}
	n := k.now().Unix() / int64(period/time.Second)
	k.mu.Lock()
	defer k.mu.Unlock()
	if n != k.current {
		keys := [][32]byte{k.key(n), k.key(n + 1)} // the first makes tickets
		for i := range int64(before) {
			keys = append(keys, k.key(n-1-i))
		}
		k.holder.SetSessionTicketKeys(keys)
		k.current = n
	}
	return k.holder
}

// key is the key of the period with the number n.
func (k *Keys) key(n int64) (key [32]byte) {
	info := binary.BigEndian.AppendUint64([]byte("holdfast session ticket key "), uint64(n))
	b, err := hkdf.Key(sha256.New, k.secret, nil, string(info), len(key))
	if err != nil {
		panic(err) // only for lengths that it isn't called with
	}
	copy(key[:], b)
	return key
}
