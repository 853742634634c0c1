package httphead

// Classes of bytes, as bits of class.
const (
	tokenByte  = 1 << iota // tchar, RFC 9110 §5.6.2
	valueByte              // field-vchar, obs-text, SP, HTAB, RFC 9110 §5.5
	targetByte             // VCHAR but "#": RFC 3986 has no other place for a fragment
	hexByte
	hostByte // of a name or an IPv4 address
)

var class = func() (table [256]uint8) {
	for c := range table {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' && c < 0x80
		digit := '0' <= c && c <= '9'
		if letter || digit {
			table[c] |= tokenByte | hostByte
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
	// "_" is no host name (RFC 952), but compose files are full of it.
	for _, c := range "-._" {
		table[c] |= hostByte
	}
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

// IsToken tells whether b is a token (RFC 9110 §5.6.2).
func IsToken(b []byte) bool { return len(b) > 0 && all(b, tokenByte) }

// EqualFold compares without regard to the case of ASCII letters, and of
// nothing else: unlike bytes.EqualFold it does not take the Kelvin sign for a k.
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

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// trimSpace cuts optional whitespace (OWS, RFC 9110 §5.6.3) off both ends.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }
