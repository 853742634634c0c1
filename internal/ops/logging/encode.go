package logging

import (
	"log/slog"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// entry is a log line that is being built. It has the same bytes as a line of
// slog's handlers, but needs no allocation. Methods return the extended entry,
// as append does: with a pointer receiver, the caller's buffer would escape to
// the heap.
type entry struct {
	b    []byte
	text bool
}

func (l *Log) begin(b []byte, now time.Time, level slog.Level, msg string) entry {
	if l.priority.Load() {
		b = append(b, priority(level)...)
	}
	e := entry{b: b, text: l.text.Load()}
	if e.text {
		e.b = append(e.b, "time="...)
		e.b = appendMillis(e.b, now)
	} else {
		e.b = append(e.b, `{"time":"`...)
		e.b = now.AppendFormat(e.b, time.RFC3339Nano)
		e.b = append(e.b, '"')
	}
	return e.string("level", level.String()).string("msg", msg)
}

// appendMillis appends t as RFC 3339 with milliseconds.
func appendMillis(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
}

// end completes the line and returns it.
func (e entry) end() []byte {
	if !e.text {
		e.b = append(e.b, '}')
	}
	return append(e.b, '\n')
}

// key appends a key. It must not need escaping.
func (e entry) key(key string) entry {
	if e.text {
		e.b = append(append(append(e.b, ' '), key...), '=')
	} else {
		e.b = append(append(append(e.b, ',', '"'), key...), '"', ':')
	}
	return e
}

func (e entry) string(key, value string) entry {
	e = e.key(key)
	e.b = appendString(e.b, value, e.text)
	return e
}

func (e entry) bytes(key string, value []byte) entry {
	e = e.key(key)
	e.b = appendString(e.b, value, e.text)
	return e
}

// claim appends a claim of a token. Its name is one of the configuration, with any
// characters.
func (e entry) claim(name, value string) entry {
	name = "claim." + name
	if e.text {
		e.b = append(appendString(append(e.b, ' '), name, true), '=')
	} else {
		e.b = append(appendString(append(e.b, ','), name, false), ':')
	}
	e.b = appendString(e.b, value, e.text)
	return e
}

func (e entry) uint(key string, value uint64) entry {
	e = e.key(key)
	e.b = strconv.AppendUint(e.b, value, 10)
	return e
}

func (e entry) bool(key string, value bool) entry {
	e = e.key(key)
	e.b = strconv.AppendBool(e.b, value)
	return e
}

// seconds appends d in seconds, rounded to a millisecond.
func (e entry) seconds(key string, d time.Duration) entry {
	e = e.key(key)
	e.b = strconv.AppendFloat(e.b, float64(d.Round(time.Millisecond).Milliseconds())/1000, 'f', -1, 64)
	return e
}

// appendString appends a value, quoted and escaped as needed.
func appendString[S string | []byte](b []byte, value S, text bool) []byte {
	switch {
	case !text:
		return append(appendJSONEscaped(append(b, '"'), value), '"')
	case needsQuotes(value):
		return strconv.AppendQuote(b, string(value))
	default:
		return append(b, value...)
	}
}

// isPlain reports whether a byte needs no escaping in a JSON string.
func isPlain(c byte) bool {
	return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\'
}

func plainPrefix[S string | []byte](s S) int {
	for i := range len(s) {
		if !isPlain(s[i]) {
			return i
		}
	}
	return len(s)
}

// appendJSONEscaped escapes as log/slog does, including U+2028 and U+2029, which
// are line ends in JavaScript. Invalid UTF-8 becomes U+FFFD.
func appendJSONEscaped[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(s); {
		if plain := plainPrefix(s[i:]); plain > 0 {
			b = append(b, s[i:i+plain]...)
			i += plain
			continue
		}
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			continue
		}
		r, size := decodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			b = append(b, '\\', 'u', '2', '0', '2', hex[r&15])
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return b
}

// needsQuotes reports whether the text format of log/slog quotes s.
func needsQuotes[S string | []byte](s S) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c == ' ' || c == '=' || (!isPlain(c) && c != '\\') {
				return true
			}
			i++
			continue
		}
		r, size := decodeRune(s[i:])
		if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return true
		}
		i += size
	}
	return len(s) == 0
}

func decodeRune[S string | []byte](s S) (rune, int) {
	var first [utf8.UTFMax]byte
	return utf8.DecodeRune(first[:copy(first[:], s)])
}
