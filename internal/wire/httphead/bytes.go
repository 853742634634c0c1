package httphead

// Classes of bytes, as bits of class.
const (
	tokenByte  = 1 << iota // tchar, RFC 9110 §5.6.2
	valueByte              // field-vchar, obs-text, SP, HTAB, RFC 9110 §5.5
	targetByte             // VCHAR but "#": RFC 3986 has no other place for a fragment
	hexByte
	hostByte // of a name or an IPv4 address
	nameByte // letters, digits and "-"
)

var class = func() (table [256]uint8) {
	for c := range table {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		digit := '0' <= c && c <= '9'
		if letter || digit {
			table[c] |= tokenByte | hostByte | nameByte
		}
		if digit || 'a' <= c|0x20 && c|0x20 <= 'f' && c < 0x80 {
			table[c] |= hexByte
		}
		if c >= 0x20 && c != 0x7f || c == '\t' {
			table[c] |= valueByte
		}
		if c > 0x20 && c < 0x7f && c != '#' {
			table[c] |= targetByte
		}
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		table[c] |= tokenByte
	}
	// "_" isn't allowed in host names (RFC 952), but common in compose files.
	for _, c := range "-._" {
		table[c] |= hostByte
	}
	table['-'] |= nameByte
	return table
}()

func all(b []byte, of uint8) bool {
	for _, c := range b {
		if class[c]&of == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether b is a token (RFC 9110 §5.6.2).
func IsToken(b []byte) bool { return len(b) > 0 && all(b, tokenByte) }

// EqualFold compares without regard to the case of ASCII letters only: unlike
// bytes.EqualFold it doesn't treat the Kelvin sign as a k.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if b[i] != s[i] && lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// Resembles reports whether a server could confuse a field of that name with the one
// called s, which is given in lower case. Many servers turn fields into variables, as CGI
// does (RFC 3875 §4.1.18): WSGI, Rack and PHP can't distinguish "_" from "-", and some,
// such as lighttpd, replace every byte that isn't a letter or digit by "_".
func Resembles(name []byte, s string) bool {
	return len(name) == len(s) && ResemblesPrefix(name, s)
}

// ResemblesPrefix is Resembles for the beginning of a name.
func ResemblesPrefix(name []byte, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := lower(name[i])
		if class[c]&nameByte == 0 {
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// IsPlainName reports whether name has only letters, digits and "-", so that Resembles
// and EqualFold agree on it.
func IsPlainName(name []byte) bool { return all(name, nameByte) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// TrimSpace cuts optional whitespace (OWS, RFC 9110 §5.6.3) off both ends.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// Clean replaces each byte that no field's value may have by a space, as RFC 9110 §5.5
// allows for CR, LF and NUL.
func Clean(value []byte) {
	for i, c := range value {
		if class[c]&valueByte == 0 {
			value[i] = ' '
		}
	}
}
