package syntax

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// maxWords bounds the words of a line, those from environment variables included.
const maxWords = 4096

// splitter takes a line apart as HAProxy does: backslashes escape outside single quotes,
// and variables are replaced within double quotes only.
type splitter struct {
	p     *Parser
	in    string
	at    int
	words []Word
	word  []byte
	begin int // of the word
	some  bool
	quote byte // 0, or the quote that is open
	open  int  // where
	dry   bool // variables aren't looked up
}

// split returns the words of a line, and where its comment begins. dry doesn't look at
// environment variables.
func (p *Parser) split(line string, dry bool) (words []Word, end int, err *Error) {
	s := splitter{p: p, in: line, dry: dry}
	for s.at < len(s.in) {
		switch c := s.in[s.at]; {
		case c == '#' && s.quote == 0:
			s.finish()
			return s.words, s.at, nil
		case (c == '"' || c == '\'') && (s.quote == 0 || s.quote == c):
			s.start()
			if s.quote = s.quote ^ c; s.quote != 0 {
				s.open = s.at
			}
			s.at++
		case c == '\\' && s.quote != '\'':
			if err := s.escape(); err != nil {
				return nil, 0, err
			}
		case isSpace(c) && s.quote == 0:
			s.finish()
			s.at++
		case c == '$' && s.quote == '"':
			if err := s.variable(); err != nil {
				return nil, 0, err
			}
		default:
			s.start()
			s.word = append(s.word, c)
			s.at++
		}
		if len(s.words) > maxWords || len(s.word) > maxLine {
			return nil, 0, s.fail(0, "the line is too long")
		}
	}
	if s.quote != 0 {
		return nil, 0, s.fail(s.open, "this quote isn't closed on its line")
	}
	s.finish()
	return s.words, len(line), nil
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'
}

// start begins a word, if none has begun.
func (s *splitter) start() {
	if !s.some {
		s.some, s.begin, s.word = true, s.at, s.word[:0]
	}
}

func (s *splitter) finish() {
	if s.some {
		s.words = append(s.words, Word{string(s.word), s.col(s.begin)})
	}
	s.some = false
}

func (s *splitter) col(at int) int { return utf8.RuneCountInString(s.in[:at]) + 1 }

func (s *splitter) fail(at int, msg string) *Error { return &Error{Col: s.col(at), Msg: msg} }

// escape reads a backslash. One that escapes nothing stands for itself.
func (s *splitter) escape() *Error {
	s.start()
	next := byte(0)
	if s.at+1 < len(s.in) {
		next = s.in[s.at+1]
	}
	switch {
	case next == ' ' || next == '\\' || next == '#' || next == '\'' || next == '"':
		s.word = append(s.word, next)
	case next == '$' && s.quote == '"':
		s.word = append(s.word, next)
	case next == 'n':
		s.word = append(s.word, '\n')
	case next == 'r':
		s.word = append(s.word, '\r')
	case next == 't':
		s.word = append(s.word, '\t')
	case next == 'x':
		digits := s.in[s.at+2 : min(s.at+4, len(s.in))]
		n, err := strconv.ParseUint(digits, 16, 8)
		if err != nil || len(digits) != 2 || strings.ContainsAny(digits, "+-_") {
			return s.fail(s.at, "two hex digits must follow \\x")
		}
		s.word = append(s.word, byte(n))
		s.at += 4
		return nil
	default:
		s.word = append(s.word, '\\')
		s.at++
		return nil
	}
	s.at += 2
	return nil
}

// variable reads "$NAME", "${NAME}", "${NAME-default}" or "${NAME[*]}".
func (s *splitter) variable() *Error {
	s.start()
	dollar := s.at
	s.at++
	braces := strings.HasPrefix(s.in[s.at:], "{")
	if braces {
		s.at++
	}
	begin := s.at
	for s.at < len(s.in) && (isName(s.in[s.at]) || s.at == begin && s.in[s.at] == '.') {
		s.at++
	}
	name := s.in[begin:s.at]
	if name == "" || name == "." || name[0] >= '0' && name[0] <= '9' {
		return s.fail(dollar, "the name of a variable must follow $; write \\$ for a dollar sign")
	}
	value, ok := s.value(name)
	if name[0] == '.' && !ok {
		return s.fail(dollar, "there is no variable "+hint.Quote(name))
	}
	expand := false
	if braces {
		if strings.HasPrefix(s.in[s.at:], "[") {
			if !strings.HasPrefix(s.in[s.at:], "[*]") {
				return s.fail(s.at, "only [*] may stand here")
			}
			expand = true
			s.at += 3
		}
		end := strings.IndexByte(s.in[s.at:], '}')
		switch rest := s.in[s.at:]; {
		case end < 0 || end > 0 && rest[0] != '-':
			return s.fail(dollar, "the brace of this variable isn't closed")
		case end > 0 && !ok:
			value, ok = rest[1:end], true
		}
		s.at += end + 1
	}
	s.write(value, expand) // one that isn't set is empty
	return nil
}

// write adds the value of a variable; if it is expanded, as words of its own.
func (s *splitter) write(value string, expand bool) {
	if !expand {
		s.word = append(s.word, value...)
		return
	}
	for i := 0; i < len(value) && len(s.words) <= maxWords; i++ {
		if !isSpace(value[i]) {
			s.word = append(s.word, value[i])
			continue
		}
		s.words = append(s.words, Word{string(s.word), s.col(s.begin)})
		s.word, s.begin = s.word[:0], s.at
		for i+1 < len(value) && isSpace(value[i+1]) {
			i++
		}
	}
}

func isName(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func (s *splitter) value(name string) (string, bool) {
	switch name {
	case ".LINE":
		return strconv.Itoa(s.p.num), true
	case ".FILE":
		return path.Base(s.p.file), true
	case ".SECTION":
		if s.p.section == nil {
			return "", true
		}
		return s.p.section.Kind, true
	}
	if s.dry {
		return "", false
	}
	return s.p.env(name)
}
