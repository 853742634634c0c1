package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/session/claims"
)

// payload is the claims of a token, as they are checked. It is a jwt.Claims whose own
// checks aren't used.
type payload struct {
	all     []claim
	expires *float64 // Unix seconds; nil if there is none
	begins  *float64
	parsed  bool
}

// claim is one claim, and those in an object have names such as a.b.
type claim struct {
	name  string
	value string
	items []string // of a list; nil for others
	list  bool
}

// Bounds of a payload.
const (
	maxDepth  = 6
	maxClaims = 500
)

var (
	errPayload   = errors.New("its payload is not a JSON object")
	errDuplicate = errors.New("a claim is in it twice")
	errDeep      = errors.New("its claims are too many or nested too deeply")
	errDate      = errors.New("a date in it is not a number")
)

// UnmarshalJSON implements json.Unmarshaler. Of two claims of the same name, other
// programs might use the other one (RFC 7519 section 4).
func (p *payload) UnmarshalJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errPayload
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errPayload
	}
	if err := p.object(d, "", 1); err != nil {
		return err
	}
	for i := range p.all {
		var at **float64
		switch p.all[i].name {
		case "exp":
			at = &p.expires
		case "nbf":
			at = &p.begins
		default:
			continue
		}
		f, err := strconv.ParseFloat(p.all[i].value, 64)
		if err != nil || math.IsInf(f, 0) {
			return errDate
		}
		*at = &f
	}
	p.parsed = true
	return nil
}

// object reads the rest of an object.
func (p *payload) object(d *json.Decoder, prefix string, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errPayload
		}
		if seen[name] {
			return errDuplicate
		}
		seen[name] = true
		if err := p.value(d, prefix+name, depth); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func (p *payload) value(d *json.Decoder, name string, depth int) error {
	t, err := d.Token()
	if err != nil {
		return errPayload
	}
	if depth > maxDepth || len(p.all) >= maxClaims {
		return errDeep
	}
	if _, number := t.(json.Number); !number && t != nil && (name == "exp" || name == "nbf") {
		return errDate // RFC 7519 section 2, NumericDate
	}
	switch t {
	case json.Delim('{'):
		return p.object(d, name+".", depth+1)
	case json.Delim('['):
		return p.items(d, name, depth+1)
	case nil:
		return nil // as if it weren't there
	}
	p.add(claim{name: name, value: scalar(t)})
	return nil
}

// items reads the rest of a list. Lists of anything but single values aren't kept.
func (p *payload) items(d *json.Decoder, name string, depth int) error {
	c := claim{name: name, list: true}
	usable := true
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return errPayload
		}
		if depth > maxDepth || len(c.items) >= maxClaims {
			return errDeep
		}
		if delim, ok := t.(json.Delim); ok {
			usable = false
			inner := payload{all: make([]claim, 0, 1)}
			if delim == '{' {
				err = inner.object(d, "", depth+1)
			} else {
				err = inner.items(d, "", depth+1)
			}
			if err != nil {
				return err
			}
			continue
		}
		if t != nil {
			c.items = append(c.items, scalar(t))
		}
	}
	if _, err := d.Token(); err != nil {
		return errPayload
	}
	if usable {
		c.value = strings.Join(c.items, ",")
		p.add(c)
	}
	return nil
}

// add adds a claim. {"a.b": 1, "a": {"b": 2}} has two of the same name: the first counts,
// which is the one that comes first in the token.
func (p *payload) add(c claim) {
	if p.find(c.name) == nil {
		p.all = append(p.all, c)
	}
}

func scalar(t json.Token) string {
	switch t := t.(type) {
	case string:
		return t
	case json.Number:
		return t.String()
	case bool:
		return strconv.FormatBool(t)
	}
	return ""
}

func (p *payload) find(name string) *claim {
	for i := range p.all {
		if p.all[i].name == name {
			return &p.all[i]
		}
	}
	return nil
}

// has reports whether a claim is a value, or one of its items is. Those of scope are
// separated by spaces (RFC 8693 section 4.2).
func (c *claim) has(value string) bool {
	switch {
	case c.list:
		for _, item := range c.items {
			if item == value {
				return true
			}
		}
		return false
	case c.name == "scope":
		for word := range strings.SplitSeq(c.value, " ") {
			if word == value {
				return true
			}
		}
	}
	return c.value == value
}

// claims packs all. A list of which an item has a comma is left out, since its items
// could not be told apart.
func (p *payload) claims() claims.Claims {
	var b []byte
	for i := range p.all {
		c := &p.all[i]
		if c.list && strings.Count(c.value, ",") > max(0, len(c.items)-1) {
			continue
		}
		b = claims.Append(b, c.name, c.value)
	}
	return claims.Claims(b)
}

// date converts Unix seconds, which may have a fraction. What is farther away than time
// can be calculated with is brought nearer.
func date(seconds float64) time.Time {
	const farthest = 1 << 40
	seconds = min(max(seconds, -farthest), farthest)
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

func (*payload) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (*payload) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (*payload) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (*payload) GetIssuer() (string, error)                   { return "", nil }
func (*payload) GetSubject() (string, error)                  { return "", nil }
func (*payload) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
