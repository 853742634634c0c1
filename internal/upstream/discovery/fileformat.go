package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

const (
	maxMembers = 10_000
	maxName    = 260 // bytes, as in the configuration: an address fits
)

// parse parses the text of a file, see ReadFile.
func parse(file string, text []byte) ([]Member, error) {
	p := parser{file: file, text: text, dec: json.NewDecoder(bytes.NewReader(text)),
		names: map[string]int{}, addresses: map[string]int{}}
	p.dec.UseNumber()
	// Check the syntax first, so that the code below need not. This also finds
	// text after the end.
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		at := len(text)
		if e, ok := errors.AsType[*json.SyntaxError](err); ok && int(e.Offset) <= len(text) && !strings.Contains(e.Error(), "unexpected end") {
			at = max(int(e.Offset)-1, 0)
		}
		return nil, p.fail(at, "broken JSON: %v", err)
	}
	if !utf8.Valid(text) {
		return nil, p.fail(invalidUTF8(text), "broken JSON: not in UTF-8")
	}
	if err := p.document(); err != nil {
		return nil, err
	}
	slices.SortFunc(p.members, byName)
	return p.members, nil
}

func invalidUTF8(text []byte) (at int) {
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// parser reads the tokens of valid JSON.
type parser struct {
	file      string
	text      []byte
	dec       *json.Decoder
	members   []Member
	names     map[string]int // their offsets in the text
	addresses map[string]int
}

// fail returns an error at an offset in the text.
func (p *parser) fail(at int, format string, args ...any) error {
	line, col := p.position(at)
	return fmt.Errorf("%s:%d:%d: %s", p.file, line, col, fmt.Sprintf(format, args...))
}

func (p *parser) position(at int) (line, col int) {
	before := p.text[:at]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// next returns the next token and its offset.
func (p *parser) next() (token json.Token, at int, err error) {
	at = int(p.dec.InputOffset())
	for at < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[at]) >= 0 {
		at++
	}
	token, err = p.dec.Token()
	if err != nil {
		err = p.fail(at, "broken JSON: %v", err)
	}
	return token, at, err
}

func (p *parser) document() error {
	token, at, err := p.next()
	switch {
	case err != nil:
		return err
	case token == json.Delim('['):
		return p.list(at)
	case token != json.Delim('{'):
		return p.fail(at, "expected a list of backends, got %s", kind(token))
	}
	there := false
	_, err = p.object(func(key string, at int) error {
		if key != "backends" {
			return p.fail(at, "unknown key %s: only \"backends\" is known here", hint.Quote(key))
		}
		there = true
		token, at, err := p.next()
		if err != nil {
			return err
		}
		if token != json.Delim('[') {
			return p.fail(at, "expected a list of backends, got %s", kind(token))
		}
		return p.list(at)
	})
	if err == nil && !there {
		return p.fail(at, "the key \"backends\" with a list of backends is missing")
	}
	return err
}

// object reads the keys of an object whose brace was read, and calls value to read
// what follows each. Keys must be unique.
func (p *parser) object(value func(key string, at int) error) (keys map[string]int, err error) {
	keys = map[string]int{}
	for {
		token, at, err := p.next()
		if err != nil || token == json.Delim('}') {
			return keys, err
		}
		key, _ := token.(string)
		if before, ok := keys[key]; ok {
			line, _ := p.position(before)
			return nil, p.fail(at, "duplicate key %s (first on line %d)", hint.Quote(key), line)
		}
		keys[key] = at
		if err := value(key, at); err != nil {
			return nil, err
		}
	}
}

// list reads the backends of a list whose bracket was read, at offset start.
func (p *parser) list(start int) error {
	for {
		token, at, err := p.next()
		switch {
		case err != nil:
			return err
		case token == json.Delim(']') && len(p.members) == 0:
			return p.fail(start, "the list is empty: a pool needs at least one backend")
		case token == json.Delim(']'):
			return nil
		case token != json.Delim('{'):
			return p.fail(at, "expected a backend such as {\"address\": \"10.0.0.1:3000\"}, got %s", kind(token))
		case len(p.members) == maxMembers:
			return p.fail(at, "more than %d backends", maxMembers)
		}
		if err := p.member(at); err != nil {
			return err
		}
	}
}

// member reads a backend whose brace was read, at offset start.
func (p *parser) member(start int) error {
	m := Member{Weight: 1}
	values := map[string]int{}
	_, err := p.object(func(key string, at int) (err error) {
		switch key {
		case "name":
			m.Name, values[key], err = p.name()
		case "address":
			m.Address, values[key], err = p.address()
		case "weight":
			m.Weight, err = p.integer(1, maxWeight)
		case "max_sessions":
			m.MaxSessions, err = p.integer(0, math.MaxInt32)
		case "health_port":
			m.HealthPort, err = p.integer(1, math.MaxUint16)
		case "backup":
			m.Backup, err = p.boolean()
		default:
			err = p.fail(at, "unknown key %s: a backend has name, address, weight, max_sessions, health_port and backup", hint.Quote(key))
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.Address == "" {
		return p.fail(start, "the backend has no address: write for example \"address\": \"10.0.0.1:3000\"")
	}
	if m.Name == "" {
		m.Name, values["name"] = m.Address, values["address"]
	}
	if err := p.unique(p.addresses, "address", m.Address, values["address"]); err != nil {
		return err
	}
	if err := p.unique(p.names, "name", m.Name, values["name"]); err != nil {
		return err
	}
	p.members = append(p.members, m)
	return nil
}

func (p *parser) unique(seen map[string]int, what, s string, at int) error {
	if before, ok := seen[s]; ok {
		line, _ := p.position(before)
		return p.fail(at, "duplicate %s %s (first on line %d)", what, hint.Quote(s), line)
	}
	seen[s] = at
	return nil
}

// string reads a string; what describes it for errors.
func (p *parser) string(what string) (string, int, error) {
	token, at, err := p.next()
	if err != nil {
		return "", at, err
	}
	s, ok := token.(string)
	if !ok {
		return "", at, p.fail(at, "expected %s in quotes, got %s", what, kind(token))
	}
	return s, at, nil
}

func (p *parser) name() (string, int, error) {
	s, at, err := p.string("a name")
	switch {
	case err != nil:
	case s == "":
		err = p.fail(at, "the name is empty")
	case len(s) > maxName:
		err = p.fail(at, "the name %s is longer than %d bytes", hint.Quote(s), maxName)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }):
		err = p.fail(at, "the name %s has spaces or invisible characters in it", hint.Quote(s))
	}
	return s, at, err
}

// address reads an address and normalizes it: lower case, IP addresses in their
// shortest form.
func (p *parser) address() (string, int, error) {
	s, at, err := p.string("an address such as 10.0.0.1:3000")
	if err != nil {
		return "", at, err
	}
	a, err := hostport.ParseBackend(s)
	if err != nil {
		return "", at, p.fail(at, "%v", err)
	}
	return a.String(), at, nil
}

func (p *parser) integer(lowest, highest int) (int, error) {
	token, at, err := p.next()
	if err != nil {
		return 0, err
	}
	number, ok := token.(json.Number)
	if !ok {
		return 0, p.fail(at, "expected a whole number, got %s", kind(token))
	}
	n, err := strconv.Atoi(number.String())
	if err != nil || n < lowest || n > highest {
		return 0, p.fail(at, "expected a whole number from %d to %d, got %s", lowest, highest, hint.Cut(number.String()))
	}
	return n, nil
}

func (p *parser) boolean() (bool, error) {
	token, at, err := p.next()
	if err != nil {
		return false, err
	}
	b, ok := token.(bool)
	if !ok {
		return false, p.fail(at, "expected true or false, got %s", kind(token))
	}
	return b, nil
}

// kind describes a token for errors.
func kind(token json.Token) string {
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return "a list"
		}
		return "an object"
	case string:
		return hint.Quote(token)
	case json.Number:
		return hint.Cut(token.String())
	}
	if token == nil {
		return "null"
	}
	return fmt.Sprint(token)
}
