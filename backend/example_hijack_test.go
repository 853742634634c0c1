package backend_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"sync"

	"github.com/holdfast-ws/holdfast/backend"
)

// echoHijack echoes small messages using only net/http.
func echoHijack(kit *backend.Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		answer := http.Header{}
		control := kit.Control(answer, r)
		accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		answer.Set("Upgrade", "websocket")
		answer.Set("Connection", "Upgrade")
		answer.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(accept[:]))
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n")
		answer.Write(conn)
		io.WriteString(conn, "\r\n")

		var mu sync.Mutex // serializes frames; none may follow a Close
		closed := false
		write := func(first byte, payload []byte) {
			mu.Lock()
			defer mu.Unlock()
			if !closed {
				conn.Write(append([]byte{first, byte(len(payload))}, payload...))
			}
			closed = closed || first == 0x88
		}
		leave := control.Join(func(code int, reason string) {
			write(0x88, append([]byte{byte(code >> 8), byte(code)}, reason...))
		})
		defer leave()
		for {
			first, payload, err := readSmallFrame(rw.Reader)
			switch {
			case err != nil:
				return
			case first == 0x88: // the client's Close, or its answer to ours
				write(first, payload)
				return
			case first == 0x89: // a ping
				control.Ping(payload)
				write(0x8a, payload)
			case first < 0x88:
				write(first, payload)
			}
		}
	}
}

// readSmallFrame reads a masked frame with at most 125 bytes, see RFC 6455 §5.2.
func readSmallFrame(r *bufio.Reader) (first byte, payload []byte, err error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size, mask := head[1]&0x7f, head[2:]
	if size > 125 {
		return 0, nil, bufio.ErrTooLong
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0], payload, err
}

func Example_hijack() {
	kit := backend.New(backend.Options{MaxSessions: 10000})
	http.Handle("/ws", echoHijack(kit))
	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
		log.Fatal(err)
	}
}
