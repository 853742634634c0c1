//go:build unix

package e2e

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Opcodes, RFC 6455 §5.2.
const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// frame is one WebSocket frame, its payload unmasked.
type frame struct {
	fin     bool
	op      byte
	payload []byte
}

// wire speaks RFC 6455 frame by frame: unlike a library, it shows a test
// exactly what came and sends exactly what the test wants. One goroutine may
// read and others write.
type wire struct {
	net.Conn
	in       *bufio.Reader
	masks    bool // a client masks what it sends, a server doesn't
	writing  sync.Mutex
	pings    int  // seen by message
	pongs    int  // seen by message
	mute     bool // message doesn't answer pings
	fragment []byte
}

// dialWire opens a WebSocket. header is further lines of the request. The
// response is returned with an error too, when there was one other than 101.
func dialWire(address, path string, header ...string) (*wire, *http.Response, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, nil, err
	}
	w := &wire{Conn: conn, in: bufio.NewReader(conn), masks: true}
	res, err := w.openingHandshake(address, path, header)
	if err != nil {
		conn.Close()
		return nil, res, err
	}
	return w, res, nil
}

// requestHead is that of an opening handshake.
func requestHead(address, path, key string, header []string) string {
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + address, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, header...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func newKey() string {
	var key [16]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// acceptKey is RFC 6455 §4.2.2's.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (w *wire) openingHandshake(address, path string, header []string) (*http.Response, error) {
	w.SetDeadline(time.Now().Add(patience))
	defer w.SetDeadline(time.Time{})
	key := newKey()
	if _, err := io.WriteString(w.Conn, requestHead(address, path, key, header)); err != nil {
		return nil, err
	}
	return w.openingAnswer(key)
}

func (w *wire) openingAnswer(key string) (*http.Response, error) {
	res, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		return res, fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); got != acceptKey(key) {
		return res, fmt.Errorf("Sec-WebSocket-Accept %q for the key %q", got, key)
	}
	return res, nil
}

// acceptWire is the server's side of the handshake, after its request was read.
func acceptWire(conn net.Conn, in *bufio.Reader, req *http.Request) (*wire, error) {
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", acceptKey(req.Header.Get("Sec-WebSocket-Key")))
	return &wire{Conn: conn, in: in}, err
}

func (w *wire) readFrame() (f frame, err error) {
	var head [8]byte
	if _, err := io.ReadFull(w.in, head[:2]); err != nil {
		return f, err
	}
	f.fin, f.op = head[0]&0x80 != 0, head[0]&0x0f
	masked := head[1]&0x80 != 0
	if head[0]&0x70 != 0 || masked == w.masks {
		return f, fmt.Errorf("broken frame head %x", head[:2])
	}
	n := uint64(head[1] & 0x7f)
	switch n {
	case 126:
		_, err = io.ReadFull(w.in, head[:2])
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(w.in, head[:8])
		n = binary.BigEndian.Uint64(head[:])
	}
	var key [4]byte
	if err == nil && masked {
		_, err = io.ReadFull(w.in, key[:])
	}
	if err != nil {
		return f, noEOF(err)
	}
	if n > 32<<20 {
		return f, fmt.Errorf("frame of %d bytes", n)
	}
	f.payload = make([]byte, n)
	if _, err := io.ReadFull(w.in, f.payload); err != nil {
		return f, noEOF(err)
	}
	if masked {
		for i := range f.payload {
			f.payload[i] ^= key[i&3]
		}
	}
	return f, nil
}

// noEOF tells the end of a stream inside a frame from one between frames.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// encode is f as it goes over the wire.
func (w *wire) encode(f frame) []byte { return w.appendFrame(nil, f) }

func (w *wire) appendFrame(b []byte, f frame) []byte {
	b = slices.Grow(b, 14+len(f.payload))
	head := len(b)
	b = append(b, f.op, 0)
	if f.fin {
		b[head] |= 0x80
	}
	switch n := len(f.payload); {
	case n < 126:
		b[head+1] = byte(n)
	case n < 1<<16:
		b[head+1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[head+1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !w.masks {
		return append(b, f.payload...)
	}
	b[head+1] |= 0x80
	var key [4]byte
	rand.Read(key[:])
	b = append(b, key[:]...)
	for i, c := range f.payload {
		b = append(b, c^key[i&3])
	}
	return b
}

// send sends frames with one write. They are put between frames of others,
// never into one.
func (w *wire) send(frames ...frame) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	var b []byte
	for _, f := range frames {
		b = w.appendFrame(b, f)
	}
	_, err := w.Write(b)
	return err
}

func (w *wire) sendText(text string) error {
	return w.send(frame{fin: true, op: opText, payload: []byte(text)})
}

// sendClose sends a Close frame; 0 is one without a code.
func (w *wire) sendClose(code int, reason string) error {
	var payload []byte
	if code != 0 {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
	}
	return w.send(frame{fin: true, op: opClose, payload: payload})
}

// closed is the error of message when a Close frame came.
type closed struct {
	code   int // 0 where there was none
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed with %d %q", c.code, c.reason) }

// message reads up to the end of a message, answering pings on the way. The
// error is a *closed when a Close came; its answer is left to the caller.
func (w *wire) message() (string, error) {
	for {
		f, err := w.readFrame()
		if err != nil {
			return "", err
		}
		switch f.op {
		case opPing:
			w.pings++
			if w.mute {
				continue
			}
			if err := w.send(frame{fin: true, op: opPong, payload: f.payload}); err != nil {
				return "", err
			}
		case opPong:
			w.pongs++
		case opClose:
			if w.fragment != nil {
				return "", errors.New("a Close inside a message")
			}
			if len(f.payload) < 2 {
				return "", &closed{}
			}
			return "", &closed{int(binary.BigEndian.Uint16(f.payload)), string(f.payload[2:])}
		default:
			if (f.op == opContinuation) != (w.fragment != nil) {
				return "", fmt.Errorf("fragment out of order, opcode %d", f.op)
			}
			w.fragment = append(w.fragment, f.payload...)
			if f.fin {
				text := string(w.fragment)
				w.fragment = nil
				return text, nil
			}
			if w.fragment == nil {
				w.fragment = []byte{}
			}
		}
	}
}

// toEnd reads to the end of the stream. It returns an error where something
// came before it, or it came by a reset.
func (w *wire) toEnd() error {
	if b, err := w.in.ReadByte(); err == nil {
		return fmt.Errorf("byte %#x after the Close", b)
	} else if err != io.EOF {
		return err
	}
	return nil
}
