// Package affinity brings a client back to the backend it was on, by a cookie.
//
// The cookie's value is, in base64url without padding (RFC 4648 §5),
//
//	id (8 bytes) ‖ mac (16 bytes)
//
// where id is made from the names of pool and backend, and mac from id, both
// with HMAC-SHA256 and keys made from the secret. So all balancers with the
// same file set and understand the same cookies, whatever the order or the
// addresses of their backends, before and after a restart; and without the
// secret nobody makes up a cookie that leads to a backend of their choice, or
// finds a backend's name out by trying names. Without a secret the keys are
// made from the pool's name, and anybody can who knows that.
package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"

	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// Verdict is what became of a request's cookie.
type Verdict uint8

const (
	None     Verdict = iota // there is no cookie
	Member                  // it leads to a member
	Gone                    // it is ours, of a backend that is no member
	Tampered                // nobody with our secret made it
)

func (v Verdict) String() string {
	return [...]string{None: "none", Member: "member", Gone: "gone", Tampered: "tampered"}[v]
}

const (
	idSize   = 8
	macSize  = 16
	textSize = (idSize + macSize) * 4 / 3

	// maxTries is how many cookies of our name are looked at in a request. A
	// browser sends more than one where the path or the domain was changed in
	// the file, the stale one first; nobody honest has many.
	maxTries = 4
)

type (
	ident [idSize]byte
	token [idSize + macSize]byte
)

// Table has the cookies of a pool's members. It is immutable.
type Table struct {
	name    string
	key     [sha256.Size]byte // of the macs
	members map[ident]int
	tokens  []token

	// What follows the value in Set-Cookie, for a client that must not send the
	// cookie but by TLS, and for others.
	secure, other string
	choice        Secure
}

// NewTable makes the cookies of a pool's members, whose names are given by
// their index. It panics with what c.Validate returns, if that is an error.
func NewTable(c Cookie, pool string, names []string) *Table {
	if err := c.Validate(); err != nil {
		panic("affinity: " + err.Error())
	}
	ids := c.key("id", pool)
	t := &Table{
		name:    c.Name,
		key:     [sha256.Size]byte(c.key("mac", pool)),
		members: make(map[ident]int, len(names)),
		tokens:  make([]token, len(names)),
		secure:  c.attributes(true),
		other:   c.attributes(false),
		choice:  c.Secure,
	}
	for i, name := range names {
		id := ident(keyed(ids, pool, name))
		if _, twice := t.members[id]; !twice {
			t.members[id] = i
		}
		mac := t.mac(id)
		copy(t.tokens[i][copy(t.tokens[i][:], id[:]):], mac[:])
	}
	return t
}

// Read tells the member that a request's cookie leads to; the index is -1
// unless the verdict is Member. Of several cookies of the name, the first that
// leads to a member counts. It allocates nothing.
func (t *Table) Read(r requestkey.Request) (member int, v Verdict) {
	cookies, _ := r.Header("cookie")
	for range maxTries {
		value, rest, ok := requestkey.NextCookie(cookies, t.name)
		if !ok {
			break
		}
		i, verdict := t.read(value)
		if verdict == Member {
			return i, Member
		}
		v = max(v, verdict)
		cookies = rest
	}
	return -1, v
}

func (t *Table) read(value []byte) (int, Verdict) {
	if len(value) == 0 {
		return -1, None // that is how pages delete cookies
	}
	if len(value) != textSize {
		return -1, Tampered
	}
	var got token
	if n, err := base64.RawURLEncoding.Decode(got[:], value); err != nil || n != len(got) {
		return -1, Tampered
	}
	id := ident(got[:])
	i, ok := t.members[id]
	if ok {
		if subtle.ConstantTimeCompare(got[:], t.tokens[i][:]) == 1 {
			return i, Member
		}
		return -1, Tampered
	}
	if mac := t.mac(id); subtle.ConstantTimeCompare(got[idSize:], mac[:]) == 1 {
		return -1, Gone
	}
	return -1, Tampered
}

// AppendSetCookie appends the value of the Set-Cookie field for a member, an
// index of the names that NewTable was given. secure says whether the client's
// connection is TLS, its own to a trusted proxy before us included; it decides
// about the attribute Secure where the configuration leaves that open.
func (t *Table) AppendSetCookie(dst []byte, member int, secure bool) []byte {
	dst = append(dst, t.name...)
	dst = append(dst, '=')
	dst = base64.RawURLEncoding.AppendEncode(dst, t.tokens[member][:])
	if t.choice == Always || t.choice == Auto && secure {
		return append(dst, t.secure...)
	}
	return append(dst, t.other...)
}

// mac is HMAC-SHA256 (RFC 2104) of an id, cut to its first half. It is written
// out because hmac.New allocates, and this is done for whatever clients send.
func (t *Table) mac(id ident) (mac [macSize]byte) {
	var (
		inner [sha256.BlockSize + idSize]byte
		outer [sha256.BlockSize + sha256.Size]byte
	)
	copy(inner[:], t.key[:])
	copy(outer[:], t.key[:])
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	copy(inner[sha256.BlockSize:], id[:])
	sum := sha256.Sum256(inner[:])
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])
	copy(mac[:], sum[:])
	return mac
}

// key derives the key for one purpose.
func (c Cookie) key(purpose, pool string) []byte {
	if c.Secret == "" {
		return keyed([]byte(pool), "holdfast affinity cookie", purpose, "no secret")
	}
	return keyed([]byte(c.Secret), "holdfast affinity cookie", purpose)
}

// keyed is HMAC-SHA256 of the parts, each with its length before it, so that
// none can pass for the end of another.
func keyed(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}
