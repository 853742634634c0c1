package handshake

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/failure"
)

// TestAppendRefusalOfARoute: the answer of a route has its body as it is, and its type.
func TestAppendRefusalOfARoute(t *testing.T) {
	const html = "text/html; charset=utf-8"
	for _, tt := range []struct {
		refusal           failure.Refusal
		body, contentType string
		length            int64 // -1 is none
	}{
		{failure.Refusal{Status: 404, Message: "No."}, "No.\n", "text/plain; charset=utf-8", 4},
		{failure.Refusal{Status: 503, Message: "<p>\nNo", ContentType: html}, "<p>\nNo", html, 6},
		{failure.Refusal{Status: 200, ContentType: html}, "", "", 0},
		{failure.Refusal{Status: 204, ContentType: html}, "", "", -1},
		{failure.Refusal{Status: 304, ContentType: html}, "", "", -1},
	} {
		text := string(AppendRefusal(nil, &tt.refusal))
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		hasLength := strings.Contains(text, "Content-Length: ")
		if err != nil || string(body) != tt.body || resp.Header.Get("Content-Type") != tt.contentType || hasLength != (tt.length >= 0) || hasLength && resp.ContentLength != tt.length {
			t.Errorf("%q: %q, %v, %v", text, body, resp.Header, err)
		}
		if got := RefusalHas(&tt.refusal, "content-type"); got != (tt.contentType != "") {
			t.Errorf("%q: RefusalHas Content-Type is %t", text, got)
		}
	}
}
