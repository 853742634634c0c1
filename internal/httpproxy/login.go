package httpproxy

import (
	"net/http"
	"strings"
)

// Some logins belong to a TCP connection: the server knows only by the connection
// who has logged in (NTLM, and Negotiate by RFC 4559 and its servers, in spite of
// RFC 9110 §11.3). A connection to a backend on which such a login was seen is
// dedicated to one connection of a client. Otherwise another client would be taken
// for the first.

// logsInRequest reports whether a request is part of such a login.
func logsInRequest(header http.Header) bool {
	return anyScheme(header["Authorization"])
}

// logsInAnswer reports whether an answer is.
func logsInAnswer(header http.Header) bool {
	return header["Persistent-Auth"] != nil || anyScheme(header["Www-Authenticate"])
}

// anyScheme reports whether the values of a field have one of the schemes. A value
// may have several challenges (RFC 9110 §11.6.1), which are not parsed exactly
// here: to mistake a parameter for a scheme costs only a connection.
func anyScheme(values []string) bool {
	for _, value := range values {
		for word := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }) {
			switch {
			case strings.EqualFold(word, "ntlm"), strings.EqualFold(word, "negotiate"),
				strings.EqualFold(word, "nego2"), strings.EqualFold(word, "kerberos"):
				return true
			}
		}
	}
	return false
}
