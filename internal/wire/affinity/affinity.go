// Package affinity binds a client to its backend by a cookie.
//
// The value of the cookie is, in base64url without padding (RFC 4648 §5),
//
//	id (8 bytes) ‖ mac (16 bytes)
//
// where id is derived from the names of pool and backend, and mac from id, both by
// HMAC-SHA256 with keys derived from the secret. So all balancers with the same
// configuration make and accept the same cookies, in whatever order and at whatever
// addresses their backends are, before and after a restart. Without the secret nobody
// can forge a cookie for a backend of their choice, or find out a backend's name by
// guessing. If no secret is configured, the keys are derived from the pool's name, and
// anybody who knows that can.
//
// If Cookie.Named is set, the value is the backend's name instead, percent-encoded where a
// cookie can't have its characters. It is not signed, so that clients can choose a backend.
//
// The spine asks a Table for each request and sets the cookie in its response. Whether
// the backend can be used is decided elsewhere (stage/balance).
package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Verdict says what a request's cookie is.
type Verdict uint8

const (
	None     Verdict = iota // there is no cookie
	Member                  // it names a member
	Gone                    // it is ours, but names a backend that isn't a member
	Tampered                // it was not made with our secret
)

func (v Verdict) String() string {
	return [...]string{None: "none", Member: "member", Gone: "gone", Tampered: "tampered"}[v]
}

const (
	idSize   = 8
	macSize  = 16
	textSize = (idSize + macSize) * 4 / 3

	// maxTries is how many cookies of our name are read in a request. A browser
	// sends several if the path or the domain was changed in the configuration,
	// the old one first; an honest client never has many.
	maxTries = 4
)

type (
	ident [idSize]byte
	token [idSize + macSize]byte
)

// Table has the cookies of a pool's members. It is immutable.
type Table struct {
	name    string
	key     [sha256.Size]byte // for mac
	members map[ident]int
	tokens  []token
	named   map[string]int // by value; nil if values are signed
	values  []string       // with named

	// The attributes after the value in Set-Cookie, with and without Secure.
	secure, insecure string
	secureMode       Secure
}

// NewTable makes the cookies of a pool's members, given by their names. Their indexes
// are used below. It panics if c.Validate returns an error.
func NewTable(c Cookie, pool string, names []string) *Table {
	if err := c.Validate(); err != nil {
		panic("affinity: " + err.Error())
	}
	if c.Named {
		return newNamed(c, names)
	}
	ids := c.key("id", pool)
	t := &Table{
		name:       c.Name,
		key:        [sha256.Size]byte(c.key("mac", pool)),
		members:    make(map[ident]int, len(names)),
		tokens:     make([]token, len(names)),
		secure:     c.attributes(true),
		insecure:   c.attributes(false),
		secureMode: c.Secure,
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

// newNamed makes the Table of cookies that are names.
func newNamed(c Cookie, names []string) *Table {
	t := &Table{name: c.Name, named: make(map[string]int, len(names)), secure: c.attributes(true), insecure: c.attributes(false), secureMode: c.Secure}
	for i, name := range names {
		value := escape(name)
		if _, twice := t.named[value]; !twice {
			t.named[value] = i
		}
		t.values = append(t.values, value)
	}
	return t
}

// escape percent-encodes what can't be in the value of a cookie (RFC 6265 §4.1.1).
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\",;\\%", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Read returns the member that a request's cookie names; the index is -1 unless the
// verdict is Member. If there are several cookies of the name, the first that names a
// member counts. It doesn't allocate.
func (t *Table) Read(r requestkey.Request) (member int, v Verdict) {
	field := 0
	cookies, _ := r.Header("cookie", field)
	for tries := 0; tries < maxTries; {
		value, rest, ok := requestkey.NextCookie(cookies, t.name)
		if !ok { // a proxy may have split the field, see requestkey.Cookie
			field++
			if cookies, ok = r.Header("cookie", field); !ok {
				break
			}
			continue
		}
		tries++
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
		return -1, None // pages delete cookies this way
	}
	if t.named != nil {
		if i, ok := t.named[string(value)]; ok {
			return i, Member
		}
		return -1, Gone
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

// AppendSetCookie appends the value of the Set-Cookie field for a member. secure says
// whether the client's connection uses TLS, possibly to a trusted proxy; it decides
// about the attribute Secure if that is Auto.
func (t *Table) AppendSetCookie(dst []byte, member int, secure bool) []byte {
	dst = append(dst, t.name...)
	dst = append(dst, '=')
	if t.named != nil {
		dst = append(dst, t.values[member]...)
	} else {
		dst = base64.RawURLEncoding.AppendEncode(dst, t.tokens[member][:])
	}
	if t.secureMode == Always || t.secureMode == Auto && secure {
		return append(dst, t.secure...)
	}
	return append(dst, t.insecure...)
}

// mac is HMAC-SHA256 (RFC 2104) of an id, truncated to its first half. It is written
// out because hmac.New allocates, and clients can cause this at will.
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

// key derives the key for a purpose.
func (c Cookie) key(purpose, pool string) []byte {
	if c.Secret == "" {
		return keyed([]byte(pool), "holdfast affinity cookie", purpose, "no secret")
	}
	return keyed([]byte(c.Secret), "holdfast affinity cookie", purpose)
}

// keyed is HMAC-SHA256 of the parts. Each is preceded by its length, so that different
// parts never give the same input.
func keyed(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}
