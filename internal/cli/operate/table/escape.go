package table

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes text from others harmless on a terminal: control characters, those that
// change the direction of text, and invalid UTF-8 become escapes as in Go.
func Escape(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[0]), 16))
		case unsafe(r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

func unsafe(r rune) bool { return !unicode.IsPrint(r) }

// JSON is v as indented JSON with a newline at its end. encoding/json escapes only the
// ASCII ones of the characters that Escape does; here it is all of them.
func JSON(v any) ([]byte, error) { return encode(v, "  ") }

// Line is v as JSON on one line.
func Line(v any) ([]byte, error) { return encode(v, "") }

func encode(v any, indent string) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	var out []byte
	for _, r := range text.String() {
		switch {
		case r == '\n' || !unsafe(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff: // a surrogate pair (RFC 8259 section 7)
			r -= 0x10000
			out = append(out, unit(0xd800+r>>10)...)
			out = append(out, unit(0xdc00+r&0x3ff)...)
		default:
			out = append(out, unit(r)...)
		}
	}
	return out, nil
}

// unit is one UTF-16 code unit as JSON escapes it.
func unit(r rune) string {
	hex := strconv.FormatInt(int64(r), 16)
	return `\u` + strings.Repeat("0", 4-len(hex)) + hex
}
