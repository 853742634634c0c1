package handshake

import (
	"net/http"
	"strconv"
)

// Refusal is an answer of our own to a client that gets no session. It is an
// error that never reaches a backend.
type Refusal struct {
	Status  int         // of HTTP
	Result  string      // the label of holdfast_handshakes_total{result}
	Message string      // the body: what to do about it, one sentence or two
	Header  [][2]string // fields beyond those every refusal has
}

func (r *Refusal) Error() string {
	return strconv.Itoa(r.Status) + " " + http.StatusText(r.Status) + ": " + r.Message
}

// Append appends the refusal as a whole HTTP/1.1 response, after which the
// connection is to be closed.
func (r *Refusal) Append(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(r.Status)...)
	dst = append(dst, "\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"...)
	for _, field := range r.Header {
		dst = append(dst, field[0]...)
		dst = append(dst, ": "...)
		dst = append(dst, field[1]...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.Message)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	dst = append(dst, r.Message...)
	return append(dst, '\n')
}

// Labels of the refusals made here.
const (
	resultBadRequest = "bad_request"
	resultMethod     = "method_not_allowed"
	resultVersion    = "unsupported_version"
	resultTooLarge   = "head_too_large"
	resultTimeout    = "request_timeout"
)

var (
	refuseMethod = &Refusal{
		Status: http.StatusMethodNotAllowed, Result: resultMethod,
		Message: "A WebSocket is opened with GET.",
		Header:  [][2]string{{"Allow", "GET"}},
	}
	refuseVersion10 = &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "A WebSocket needs HTTP/1.1 and this request is HTTP/1.0. A proxy on the way may have changed it; nginx does unless told \"proxy_http_version 1.1\".",
	}
	refuseBody = &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "A request for a WebSocket must have no body: leave out Transfer-Encoding and Content-Length.",
	}
	refuseConnection = &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "The request has \"Upgrade: websocket\" but not \"Connection: Upgrade\". A proxy on the way may have removed it.",
	}
	// RFC 6455 §4.4 has the version, RFC 9110 §15.5.22 the rest.
	refuseWebSocketVersion = &Refusal{
		Status: http.StatusUpgradeRequired, Result: resultVersion,
		Message: "Only WebSocket version 13 is spoken here: send \"Sec-WebSocket-Version: 13\", once.",
		Header:  [][2]string{{"Sec-WebSocket-Version", "13"}, {"Upgrade", "websocket"}, {"Connection", "Upgrade"}},
	}
	refuseKey = &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "The request needs one Sec-WebSocket-Key: 16 random bytes in base64, 24 characters.",
	}
	refuseTooLarge = &Refusal{
		Status: http.StatusRequestHeaderFieldsTooLarge, Result: resultTooLarge,
		Message: "The request's head is too large: send shorter or fewer header fields. Often it is cookies that have piled up.",
	}
	refuseTimeout = &Refusal{
		Status: http.StatusRequestTimeout, Result: resultTimeout,
		Message: "The request's head did not arrive in time.",
	}
	refuseTruncated = &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "The request ended before the empty line that ends its head.",
	}
)

func refuseMalformed(reason string) *Refusal {
	return &Refusal{
		Status: http.StatusBadRequest, Result: resultBadRequest,
		Message: "This is no HTTP/1.1 request that can be served: " + reason + ".",
	}
}
