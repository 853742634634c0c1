//go:build unix

package hostile

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	switches = "HTTP/1.1 101 Switching Protocols\r\n"
	agrees   = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n"
	marked   = "HTTP/1.1 200 OK\r\nX-Marked: yes\r\nContent-Length: 0\r\n\r\n"
)

// answers are hostile or broken answers of a backend to a handshake. The client gets
// status, and what it gets never contains the word "marked".
var answers = []struct {
	name, bytes string
	status      int
}{
	{"good", switches + agrees + "\r\n", 101},
	{"100 and 101", "HTTP/1.1 100 Continue\r\n\r\n" + switches + agrees + "\r\n", 101},
	{"wrong accept", switches + strings.ReplaceAll(agrees, "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo") + "\r\n", 502},
	{"accept of another case", switches + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO=\r\n\r\n", 502},
	{"no accept", switches + "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502},
	{"two accepts", switches + agrees + "Sec-WebSocket-Accept: KEY\r\n\r\n", 502},
	{"no Upgrade", switches + "Connection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", 502},
	{"another upgrade", switches + "Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", 502},
	{"no Connection", switches + "Upgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n\r\n", 502},
	{"subprotocol that wasn't offered", switches + agrees + "Sec-WebSocket-Protocol: marked\r\n\r\n", 502},
	{"extension that wasn't offered", switches + agrees + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 502},
	{"unknown extension", switches + agrees + "Sec-WebSocket-Extensions: marked\r\n\r\n", 502},
	// A 101 has no body (RFC 9112 §6.3), so what follows is frames.
	{"101 with a body's length", switches + agrees + "Content-Length: 5\r\n\r\nmarked", 101},
	{"101 chunked", switches + agrees + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 101},
	{"200 with a switch", strings.Replace(switches, "101 Switching Protocols", "200 OK", 1) + agrees + "\r\n", 200},
	{"101 in HTTP/1.0", strings.Replace(switches, "1.1", "1.0", 1) + agrees + "\r\n", 502},
	{"fold", switches + "A: b\r\n marked\r\n" + agrees + "\r\n", 502},
	{"bare LF", strings.ReplaceAll(switches+agrees+"\r\n", "\r\n", "\n"), 502},
	{"NUL in a value", switches + "A: \x00\r\n" + agrees + "\r\n", 502},
	{"space before a colon", switches + "A : b\r\n" + agrees + "\r\n", 502},
	{"field without colon", switches + "marked\r\n" + agrees + "\r\n", 502},
	{"bare CR in a value", switches + "A: b\rX-Marked: yes\r\n" + agrees + "\r\n", 502},
	{"huge head", switches + "A: " + strings.Repeat("a", 1<<20) + "\r\n" + agrees + "\r\n", 502},
	{"endless interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 10_000), 502},
	{"nothing", "", 502},
	{"half a head", switches + "Upgrade: web", 502},
	{"not HTTP", "SSH-2.0-marked\r\n", 502},
	{"HTTP/2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", 502},
	{"TLS alert", "\x15\x03\x03\x00\x02\x02\x28", 502},
	{"status of four digits", strings.Replace(switches, "101", "1010", 1) + agrees + "\r\n", 502},
	{"status 099", strings.Replace(switches, "101", "099", 1) + agrees + "\r\n", 502},
	{"refusal with two lengths", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nContent-Length: 90\r\n\r\n" + marked, 502},
	{"refusal, another answer behind it", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" + marked, 403},
	{"refusal, chunked and with a length", "HTTP/1.1 403 Forbidden\r\nContent-Length: 90\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + marked, 502},
	{"frames of a client behind 101", switches + agrees + "\r\n\x81\x86\x00\x00\x00\x00marked", 101},
	{"reserved opcode behind 101", switches + agrees + "\r\n\x83\x06marked", 101},
}

// TestHostileAnswers: a client gets no switch that its backend hasn't made, and
// nothing that stands behind an answer.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	byPath := map[string]string{}
	path := func(name string) string { return "/" + strings.ReplaceAll(name, " ", "-") }
	for _, tt := range answers {
		byPath[path(tt.name)] = tt.bytes
	}
	back := startRecorder(t, byPath)
	for _, engine := range []string{"epoll", "portable"} {
		t.Run(engine, func(t *testing.T) {
			b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{back.address}}.YAML())
			for _, tt := range answers {
				status, got := exchange(t, b.Address, "GET "+path(tt.name)+" HTTP/1.1\r\n"+host+asks+"\r\n")
				if status != tt.status || strings.Contains(strings.ToLower(got), "marked") {
					t.Errorf("%s: status %d, want %d: %.400q", tt.name, status, tt.status, got)
				}
			}
			b.Stop(t)
		})
	}
}
