package server

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// route returns the response to a request, and a function that makes the handler of
// the WebSocket, nil if the response isn't a 101.
func (s *Server) route(req *httphead.Request, head []byte) (handler func(*wsconn.Conn) wsconn.Handler, answer []byte) {
	if n, err := req.Parse(head); err != nil || n == 0 {
		return nil, plain("400 Bad Request", "not an HTTP/1.1 request\n")
	}
	switch string(req.Path) {
	case "/health":
		return nil, plain("200 OK", "ok\n")
	case "/echo":
		handler = func(ws *wsconn.Conn) wsconn.Handler { return echo{ws} }
	case "/broadcast":
		handler = func(*wsconn.Conn) wsconn.Handler { return broadcast{s} }
	case "/sink":
		handler = func(*wsconn.Conn) wsconn.Handler { return sink{} }
	default:
		return nil, plain("404 Not Found", "not found; try /echo, /broadcast, /sink or /health\n")
	}
	key, _ := req.Fields.Get("Sec-WebSocket-Key")
	if string(req.Method) != "GET" || len(key) != 24 || !req.Fields.HasToken("Upgrade", "websocket") || !req.Fields.HasToken("Connection", "Upgrade") {
		return nil, plain("426 Upgrade Required", "this path needs a WebSocket handshake\n")
	}
	answer = fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", wsconn.AcceptKey(string(key)))
	for offers := range req.Fields.Values("Sec-WebSocket-Protocol") {
		// Choose the first one; the server behaves the same with all.
		if first, _ := httphead.NextMember(offers); first != nil {
			answer = fmt.Appendf(answer, "Sec-WebSocket-Protocol: %s\r\n", first)
			break
		}
	}
	return handler, append(answer, "\r\n"...)
}

func plain(status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
}
