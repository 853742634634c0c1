package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReason is the room that a control frame has beside the code (RFC 6455
// section 5.5), in bytes.
const maxReason = 123

func checkReason(s string) error {
	switch {
	case len(s) > maxReason:
		return fmt.Errorf("the reason has %d bytes and a Close frame has room for %d: shorten it", len(s), maxReason)
	case !utf8.ValidString(s): // section 5.5.1
		return errors.New("the reason is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the reason has control characters in it: write plain text")
	}
	return nil
}

// mayClose reports whether an endpoint may send the code (RFC 6455 sections
// 7.4.1 and 7.4.2, and the registry it opened) when it has received nothing
// wrong; 1005, 1006 and 1015 never are in a frame.
func mayClose(code int) bool {
	return code == 1000 || code == 1001 || code == 1008 || 1011 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// CheckClose returns an error if a session can't be closed with a code and a reason.
func CheckClose(code int, reason string) error {
	if !mayClose(code) {
		return fmt.Errorf("a session can't be closed with code %d: use 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999", code)
	}
	return checkReason(reason)
}
