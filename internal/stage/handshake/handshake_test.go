package handshake

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

func parseRequest(t testing.TB, head string) *httphead.Request {
	t.Helper()
	req := new(httphead.Request)
	if n, err := req.Parse([]byte(head)); n != len(head) {
		t.Fatalf("%q is no request head: %d, %v", head, n, err)
	}
	return req
}

func TestIsWebSocket(t *testing.T) {
	for upgrade, want := range map[string]bool{
		"Upgrade: websocket":                          true,
		"upgrade: WebSocket":                          true,
		"Upgrade: h2c, websocket":                     true,
		"Upgrade: h2c\r\nUpgrade: websocket":          true,
		"Upgrade: h2c":                                false,
		"Upgrade: websockets":                         false,
		"Upgrade: webso\u212aet":                      false,
		"Connection: websocket, Upgrade":              false,
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==": false,
	} {
		if got := IsWebSocket(parseRequest(t, "GET / HTTP/1.1\r\nHost: a\r\n"+upgrade+"\r\n\r\n")); got != want {
			t.Errorf("IsWebSocket with %q = %t", upgrade, got)
		}
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name     string
		old, new string // replaced in browserRequest
		host     string
		path     string
	}{
		{"browser", "", "", "ws.example.com", "/chat"},
		{"absolute-form", "GET /chat", "GET http://Other.example:81/x", "other.example", "/x"},
		{"final dot", "WS.example.com:8080", "WS.example.com.", "ws.example.com", "/chat"},
		{"lists in several fields", "Connection: keep-alive, Upgrade", "Connection: foo\r\nConnection: ,UPGRADE", "ws.example.com", "/chat"},
		{"Content-Length 0", "Accept-Encoding: gzip", "Content-Length: 0\r\nX: y", "ws.example.com", "/chat"},
		{"encoded path", "/chat?room=1", "/%63hat", "ws.example.com", "/%63hat"},
	}
	var up Upgrade
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := parseRequest(t, strings.Replace(browserRequest, tt.old, tt.new, 1))
			if err := Check(req, &up); err != nil {
				t.Fatal(err)
			}
			if string(up.Host) != tt.host || string(up.Path) != tt.path {
				t.Errorf("host %q, path %q; want %q, %q", up.Host, up.Path, tt.host, tt.path)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	const version = "Sec-WebSocket-Version: 13"
	const connection = "Connection: keep-alive, Upgrade"
	tests := []struct {
		name     string
		old, new string
		status   int
		result   string
		says     string
	}{
		{"POST", "GET", "POST", 405, "method_not_allowed", "GET"},
		{"lower case get", "GET", "get", 405, "method_not_allowed", "GET"},
		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 400, "bad_request", "HTTP/1.1"},
		{"body", version, version + "\r\nContent-Length: 1", 400, "bad_request", "body"},
		{"chunked", version, version + "\r\nTransfer-Encoding: chunked", 400, "bad_request", "body"},
		{"Connection without upgrade", connection, "Connection: keep-alive", 400, "bad_request", "Connection: Upgrade"},
		{"no Connection", connection + "\r\n", "", 400, "bad_request", "Connection: Upgrade"},
		{"no version", version + "\r\n", "", 426, "unsupported_version", "Sec-WebSocket-Version: 13"},
		{"old version", version, "Sec-WebSocket-Version: 8", 426, "unsupported_version", "Sec-WebSocket-Version: 13"},
		{"version 013", version, "Sec-WebSocket-Version: 013", 426, "unsupported_version", "Sec-WebSocket-Version: 13"},
		{"list of versions", version, "Sec-WebSocket-Version: 13, 8", 426, "unsupported_version", "Sec-WebSocket-Version: 13"},
		{"two versions", version, version + "\r\n" + version, 426, "unsupported_version", "Sec-WebSocket-Version: 13"},
		{"no key", key + "\r\n", "", 400, "bad_request", "Sec-WebSocket-Key"},
		{"empty key", key, "Sec-WebSocket-Key:", 400, "bad_request", "Sec-WebSocket-Key"},
		{"two keys", key, key + "\r\n" + key, 400, "bad_request", "Sec-WebSocket-Key"},
		{"15 bytes", key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", 400, "bad_request", "Sec-WebSocket-Key"},
		{"17 bytes", key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=", 400, "bad_request", "Sec-WebSocket-Key"},
		{"18 bytes", key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy", 400, "bad_request", "Sec-WebSocket-Key"},
		{"no base64", key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==", 400, "bad_request", "Sec-WebSocket-Key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var up Upgrade
			err := Check(parseRequest(t, strings.Replace(browserRequest, tt.old, tt.new, 1)), &up)
			checkRefusal(t, err, tt.status, tt.result)
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
		})
	}
}

// TestVersionRefusal checks what RFC 6455 §4.4 and RFC 9110 §15.5.22 require.
func TestVersionRefusal(t *testing.T) {
	resp := parseResponse(t, string(AppendRefusal(nil, refuseWebSocketVersion.Refusal)))
	if resp.header.Get("Sec-WebSocket-Version") != "13" || resp.header.Get("Upgrade") != "websocket" {
		t.Errorf("fields %v", resp.header)
	}
}

func TestCheckResponse(t *testing.T) {
	const accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	const protocol = "Sec-WebSocket-Protocol: superchat"
	const extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
	tests := []struct {
		name     string
		old, new string // replaced in backendResponse
		reason   Reason // "" for a right one
	}{
		{"right", "", "", ""},
		{"Connection with more", "Connection: Upgrade", "connection: keep-alive\r\nConnection: upgrade", ""},
		{"other case", "Upgrade: websocket", "upgrade: WebSocket", ""},
		{"no subprotocol", protocol + "\r\n", "", ""},
		{"no extension", extension + "\r\n", "", ""},
		{"length of nothing", protocol, "Content-Length: 0", ""},

		{"HTTP/1.0", "HTTP/1.1", "HTTP/1.0", ReasonVersion},
		{"no Upgrade", "Upgrade: websocket\r\n", "", ReasonUpgrade},
		{"other Upgrade", "Upgrade: websocket", "Upgrade: h2c", ReasonUpgrade},
		{"more Upgrades", "Upgrade: websocket", "Upgrade: websocket, h2c", ReasonUpgrade},
		{"two Upgrades", "Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: websocket", ReasonUpgrade},
		{"no Connection", "Connection: Upgrade\r\n", "", ReasonConnection},
		{"other Connection", "Connection: Upgrade", "Connection: close", ReasonConnection},
		{"no accept", accept + "\r\n", "", ReasonAccept},
		{"accept of another key", accept, "Sec-WebSocket-Accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=", ReasonAccept},
		{"accept in other case", accept, strings.ToUpper(accept), ReasonAccept},
		{"accept twice", accept, accept + "\r\n" + accept, ReasonAccept},
		{"subprotocol not offered", protocol, "Sec-WebSocket-Protocol: other", ReasonSubprotocol},
		{"subprotocol in other case", protocol, "Sec-WebSocket-Protocol: Superchat", ReasonSubprotocol},
		{"two subprotocols", protocol, "Sec-WebSocket-Protocol: chat, superchat", ReasonSubprotocol},
		{"two subprotocol fields", protocol, protocol + "\r\n" + protocol, ReasonSubprotocol},
		{"empty subprotocol", protocol, "Sec-WebSocket-Protocol:", ReasonSubprotocol},
		{"extension not offered", extension, "Sec-WebSocket-Extensions: x-webkit-deflate-frame", ReasonExtension},
		{"one extension not offered", extension, extension + ", mux", ReasonExtension},
		{"extension without name", extension, "Sec-WebSocket-Extensions: ;a=b", ReasonExtension},
	}
	var up Upgrade
	if err := Check(parseRequest(t, browserRequest), &up); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var resp httphead.Response
			if n, err := resp.Parse([]byte(strings.Replace(backendResponse, tt.old, tt.new, 1))); n == 0 {
				t.Fatal(err)
			}
			err := CheckResponse(&resp, &up)
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			checkBackendError(t, err, tt.reason)
		})
	}
	t.Run("plain answer", func(t *testing.T) {
		var resp httphead.Response
		if n, err := resp.Parse([]byte("HTTP/1.1 403 Forbidden\r\n\r\n")); n == 0 {
			t.Fatal(err)
		}
		if err := CheckResponse(&resp, &up); err != ErrPlainAnswer {
			t.Errorf("error %v; want ErrPlainAnswer", err)
		}
	})
	t.Run("an extension without a name was offered", func(t *testing.T) {
		var up Upgrade
		if err := Check(parseRequest(t, strings.Replace(browserRequest, "permessage-deflate", "", 1)), &up); err != nil {
			t.Fatal(err)
		}
		var resp httphead.Response
		if n, err := resp.Parse([]byte(strings.Replace(backendResponse, "permessage-deflate", "", 1))); n == 0 {
			t.Fatal(err)
		}
		checkBackendError(t, CheckResponse(&resp, &up), ReasonExtension)
	})
	t.Run("nothing was offered", func(t *testing.T) {
		var up Upgrade
		head := browserRequest[:strings.Index(browserRequest, "Sec-WebSocket-Protocol")] + "\r\n"
		if err := Check(parseRequest(t, head), &up); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{protocol, extension} {
			var resp httphead.Response
			if n, err := resp.Parse([]byte(strings.Replace(backendResponse, field+"\r\n", "", 1))); n == 0 {
				t.Fatal(err)
			}
			if err := CheckResponse(&resp, &up); err == nil {
				t.Errorf("accepted, with only %q removed", field)
			}
		}
	})
}
