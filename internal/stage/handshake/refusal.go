package handshake

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// AppendRefusal appends r as a whole HTTP/1.1 response. The caller closes the
// connection after it.
func AppendRefusal(dst []byte, r *failure.Refusal) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(r.Status)...)
	dst = append(dst, "\r\nConnection: close\r\n"...)
	body, contentType := r.Body()
	if contentType != "" {
		dst = append(append(append(dst, "Content-Type: "...), contentType...), "\r\n"...)
	}
	if r.ContentType == "" {
		dst = append(dst, "X-Content-Type-Options: nosniff\r\n"...)
	}
	for _, field := range r.Header {
		dst = append(dst, field[0]...)
		dst = append(dst, ": "...)
		dst = append(dst, field[1]...)
		dst = append(dst, "\r\n"...)
	}
	if !failure.HasNoBody(r.Status) {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	return append(append(dst, "\r\n"...), body...)
}

// RefusalHas reports whether AppendRefusal appends a field of that name for r.
func RefusalHas(r *failure.Refusal, name string) bool {
	_, contentType := r.Body()
	return contentType != "" && strings.EqualFold(name, "Content-Type") || r.ContentType == "" && strings.EqualFold(name, "X-Content-Type-Options") ||
		slices.ContainsFunc(r.Header, func(f [2]string) bool { return strings.EqualFold(f[0], name) })
}

// refuse makes the error of a request that gets no session. Its text for the log
// is what the client is told.
func refuse(code failure.Code, status int, message string, header ...[2]string) *failure.Error {
	return &failure.Error{
		Code:    code,
		Refusal: &failure.Refusal{Status: status, Message: message, Header: header},
		Reason:  strconv.Itoa(status) + " " + http.StatusText(status) + ": " + message,
	}
}

var (
	refuseMethod = refuse(failure.MethodNotAllowed, http.StatusMethodNotAllowed,
		"A WebSocket is opened with GET.",
		[2]string{"Allow", "GET"})
	refuseVersion10 = refuse(failure.BadRequest, http.StatusBadRequest,
		"A WebSocket needs HTTP/1.1 and this request is HTTP/1.0. A proxy on the way may have changed it; nginx does unless told \"proxy_http_version 1.1\".")
	refuseBody = refuse(failure.BadRequest, http.StatusBadRequest,
		"A request for a WebSocket must have no body: leave out Transfer-Encoding and Content-Length.")
	refuseConnection = refuse(failure.BadRequest, http.StatusBadRequest,
		"The request has \"Upgrade: websocket\" but not \"Connection: Upgrade\". A proxy on the way may have removed it.")
	// RFC 6455 §4.4 requires the version, RFC 9110 §15.5.22 the other fields.
	refuseWebSocketVersion = refuse(failure.UnsupportedVersion, http.StatusUpgradeRequired,
		"Only WebSocket version 13 is spoken here: send \"Sec-WebSocket-Version: 13\", once.",
		[2]string{"Sec-WebSocket-Version", "13"},
		[2]string{"Upgrade", "websocket"},
		[2]string{"Connection", "Upgrade"})
	refuseKey = refuse(failure.BadRequest, http.StatusBadRequest,
		"The request needs one Sec-WebSocket-Key: 16 random bytes in base64, 24 characters.")
	refuseTooLarge = refuse(failure.HeadTooLarge, http.StatusRequestHeaderFieldsTooLarge,
		"The request's head is too large: send shorter or fewer header fields. Often it is cookies that have piled up.")
	// RFC 9112 §3 requires this status.
	refuseTooLong = refuse(failure.HeadTooLarge, http.StatusRequestURITooLong,
		"The request's target is too long.")
	refuseTimeout = refuse(failure.RequestTimeout, http.StatusRequestTimeout,
		"The request's head did not arrive in time.")
	refuseTruncated = refuse(failure.BadRequest, http.StatusBadRequest,
		"The request ended before the empty line that ends its head.")
)

func refuseMalformed(syntax *httphead.SyntaxError) error {
	return refuse(failure.BadRequest, cmp.Or(syntax.Status, http.StatusBadRequest), "This is no HTTP/1.1 request that can be served: "+syntax.Reason+".")
}
