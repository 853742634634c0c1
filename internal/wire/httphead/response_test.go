package httphead

import (
	"strings"
	"testing"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" +
	"\r\n"

func TestResponse(t *testing.T) {
	tests := []struct {
		name, head string
		status     int
		reason     string
		length     int64
		chunked    bool
	}{
		{"101", switching, 101, "Switching Protocols", -1, false},
		{"empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, "", 0, false},
		{"no reason, no space", "HTTP/1.1 200\r\n\r\n", 200, "", -1, false},
		{"1.0", "HTTP/1.0 404 Not Found\r\n\r\n", 404, "Not Found", -1, false},
		{"odd reason", "HTTP/1.1 403 Défense\td'entrer\r\nTransfer-Encoding: chunked\r\n\r\n", 403, "Défense\td'entrer", -1, true},
	}
	var r Response
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := r.Parse([]byte(tt.head + "\x81\x01a"))
			if n != len(tt.head) || err != nil {
				t.Fatalf("Parse = %d, %v; want %d", n, err, len(tt.head))
			}
			if r.Status != tt.status || string(r.Reason) != tt.reason || r.ContentLength != tt.length || r.Chunked != tt.chunked {
				t.Errorf("got %d %q, length %d, chunked %t", r.Status, r.Reason, r.ContentLength, r.Chunked)
			}
			if want := int(tt.head[len("HTTP/1.")] - '0'); r.Minor != want {
				t.Errorf("minor %d; want %d", r.Minor, want)
			}
			for i := range tt.head {
				if n, err := r.Parse([]byte(tt.head[:i])); n != 0 || err != nil {
					t.Fatalf("Parse of the first %d bytes = %d, %v; want it to ask for more", i, n, err)
				}
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	tests := []struct {
		name, head string
		want       error
	}{
		{"no HTTP", "SSH-2.0-OpenSSH_9.6", errStatusLine},
		{"bare LF", "HTTP/1.1 101 Switching Protocols\n\n", errBareLF},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", errMajor},
		{"no version", "HTTP/1.x 200 OK\r\n\r\n", errVersion},
		{"no status", "HTTP/1.1\r\n\r\n", errStatusLine},
		{"two digits", "HTTP/1.1 99 Low\r\n\r\n", errStatusLine},
		{"four digits", "HTTP/1.1 1010 High\r\n\r\n", errStatusLine},
		{"below 100", "HTTP/1.1 099 Low\r\n\r\n", errStatus},
		{"no digits", "HTTP/1.1 1x1 Odd\r\n\r\n", errStatus},
		{"two spaces", "HTTP/1.1  101 Odd\r\n\r\n", errStatusLine},
		{"control byte in the reason", "HTTP/1.1 101 O\x00K\r\n\r\n", errReason},
		{"length and encoding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", errLengthEncoding},
		{"101 fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n", ErrTooManyFields},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r Response
			if n, err := r.Parse([]byte(tt.head)); n != 0 || err != tt.want {
				t.Fatalf("Parse = %d, %v; want %v", n, err, tt.want)
			}
		})
	}
}

func BenchmarkResponse(b *testing.B) {
	head := []byte(switching)
	var r Response
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := r.Parse(head); n != len(head) {
			b.Fatal(n, err)
		}
	}
}
