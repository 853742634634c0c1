package tlsrec

import "crypto/cipher"

// direction is an index of what a State has twice.
type direction uint8

const (
	in direction = iota
	out
)

// entry is a cipher and the secret from which it was made.
type entry struct {
	aead   cipher.AEAD
	secret secret
	iv     [ivSize]byte
	suite  uint8 // 0: the entry is free
	used   bool  // since the hand has passed
}

// is reports whether e is the cipher for a direction of s. The secrets themselves are
// compared: whatever happens to a State, and wherever it is copied, it can't get the
// cipher of another one.
func (e *entry) is(s *State, d direction) bool {
	return e.suite == s.suite && e.secret == s.secrets[d]
}

// cache has the ciphers that were used last. Which of them goes is decided by the
// CLOCK algorithm. A State remembers the index of its entries.
type cache struct {
	entries []entry // it grows up to the limit
	limit   int
	hand    int
}

// get returns the cipher for a direction of s. The pointer is valid until the next
// call. s must not be zero.
func (c *cache) get(s *State, d direction) *entry {
	if i := int(s.place[d]); i < len(c.entries) {
		if e := &c.entries[i]; e.is(s, d) {
			e.used = true
			return e
		}
	}
	return c.fill(s, d)
}

func (c *cache) fill(s *State, d direction) *entry {
	i := c.vacate(int(s.place[d]))
	e := &c.entries[i]
	*e = entry{secret: s.secrets[d], suite: s.suite, used: true}
	suite := s.suiteInfo()
	var key [maxKeySize]byte
	suite.keys(&e.secret, &key, &e.iv)
	aead, err := suite.aead(key[:suite.keySize])
	if err != nil {
		// New has seen that the suite is usable.
		panic("tlsrec: " + err.Error())
	}
	e.aead = aead
	s.place[d] = uint16(i)
	return e
}

// vacate returns the index of an entry that may be overwritten: the one that s had if
// it is free.
func (c *cache) vacate(had int) int {
	if had < len(c.entries) && c.entries[had].suite == 0 {
		return had
	}
	if len(c.entries) < c.limit {
		c.entries = append(c.entries, entry{})
		return len(c.entries) - 1
	}
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.entries)
		if e := &c.entries[i]; !e.used {
			return i
		} else {
			e.used = false
		}
	}
}

// drop frees the entry for a direction of s, if there is one.
func (c *cache) drop(s *State, d direction) {
	if i := int(s.place[d]); i < len(c.entries) && c.entries[i].is(s, d) {
		c.entries[i] = entry{}
	}
}

func (c *cache) trim() {
	clear(c.entries)
	c.entries, c.hand = nil, 0
}
