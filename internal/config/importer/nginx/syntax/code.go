package syntax

import "bytes"

// code reads the rest of a block of Lua, whose first brace was read. Braces in strings
// and comments don't count (Lua 5.1 manual, section 2.1).
func (l *lexer) code(from Pos) (string, error) {
	start, open := l.at, 1
	for l.at < len(l.text) {
		switch c := l.text[l.at]; c {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				l.at++
				return string(l.text[start : l.at-1]), nil
			}
		case '\'', '"':
			l.luaString(c)
		case '-':
			if bytes.HasPrefix(l.text[l.at:], []byte("--")) {
				l.at++
				l.luaComment()
			}
		case '[':
			l.luaLong()
		}
		if l.at < len(l.text) {
			l.next()
		}
	}
	return "", &Error{from, "the file ends within this block: a \"}\" is missing"}
}

// luaString goes to the quotation mark that ends a string, or to the end of the line.
func (l *lexer) luaString(quote byte) {
	for l.at++; l.at < len(l.text) && l.text[l.at] != quote && l.text[l.at] != '\n'; l.next() {
		if l.text[l.at] == '\\' && l.at+1 < len(l.text) {
			l.at++
		}
	}
}

// luaComment goes from the second dash to the last byte of a comment.
func (l *lexer) luaComment() {
	if l.at+1 < len(l.text) && l.text[l.at+1] == '[' {
		l.at++
		if l.luaLong() {
			return
		}
	}
	for l.at+1 < len(l.text) && l.text[l.at] != '\n' && l.text[l.at+1] != '\n' {
		l.at++
	}
}

// luaLong goes from "[" to the last byte of a long bracket such as [==[ … ]==], and
// reports whether there is one. Otherwise it stays.
func (l *lexer) luaLong() bool {
	i := l.at + 1
	for i < len(l.text) && l.text[i] == '=' {
		i++
	}
	if i == len(l.text) || l.text[i] != '[' {
		return false
	}
	closing := append(bytes.Repeat([]byte("="), i-l.at-1), ']')
	closing = append([]byte("]"), closing...)
	end := bytes.Index(l.text[i+1:], closing)
	if end < 0 {
		end = len(l.text) - i - 1 // never closed: all the rest
	} else {
		end += len(closing) - 1
	}
	for stop := min(i+1+end, len(l.text)); l.at < stop; {
		l.next()
	}
	return true
}
