//go:build linux

package switching

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// tagHeader identifies a request of the test. What has none is a health check.
const tagHeader = "X-Tag"

// answerHeader says how a backend answers a plain request: "STATUS" or "STATUS|Name: value|...".
const answerHeader = "X-Answer"

// verifyPath is that of an endpoint that is asked about clients. Those with a field
// Authorization are admitted.
const verifyPath = "/verify"

// seen is a request as a backend got it.
type seen struct {
	Backend      string // address
	TLS          bool
	ServerName   string // of TLS
	Source       string // as a PROXY header says
	Method, Path string
	Host         string
	Header       map[string][]string // lower-case names
	Body         string
}

// recorder is the backend at all addresses of a file. It keeps what it gets.
type recorder struct {
	tls *tls.Config

	running sync.WaitGroup
	mu      sync.Mutex // guards the following
	seen    map[string][]seen
	conns   map[net.Conn]bool
	checked int // requests without a tag for /health
	down    bool
}

// startRecorder starts backends at addresses, "IP:port" or "unix:/path".
func startRecorder(t *testing.T, config *tls.Config, addresses []string) *recorder {
	t.Helper()
	r := &recorder{tls: config, seen: map[string][]seen{}, conns: map[net.Conn]bool{}}
	var listeners []net.Listener
	t.Cleanup(func() {
		for _, ln := range listeners {
			ln.Close()
		}
		r.mu.Lock()
		r.down = true
		for c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	for _, address := range addresses {
		network, at := "tcp", address
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			network, at = "unix", path
		}
		ln, err := net.Listen(network, at)
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, ln)
		r.running.Go(func() { r.accept(ln, address) })
	}
	return r
}

func (r *recorder) accept(ln net.Listener, address string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if r.down {
			r.mu.Unlock()
			conn.Close()
			return
		}
		r.conns[conn] = true
		r.mu.Unlock()
		r.running.Go(func() {
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			r.serve(conn, address)
			conn.Close()
			r.mu.Lock()
			delete(r.conns, conn)
			r.mu.Unlock()
		})
	}
}

// take returns what came with a tag, and forgets it.
func (r *recorder) take(tag string) []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.seen[tag]
	delete(r.seen, tag)
	return all
}

// checks returns the number of health checks that came.
func (r *recorder) checks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checked
}

// buffered is a connection of which the beginning was read ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

func (r *recorder) serve(conn net.Conn, address string) {
	s := seen{Backend: address}
	in := bufio.NewReader(conn)
	source, err := readProxyHeader(in)
	if err != nil {
		return
	}
	s.Source = source
	if first, err := in.Peek(1); err != nil {
		return
	} else if first[0] == 0x16 {
		secure := tls.Server(buffered{conn, in}, r.tls)
		if secure.Handshake() != nil {
			return
		}
		s.TLS, s.ServerName = true, secure.ConnectionState().ServerName
		conn, in = secure, bufio.NewReader(secure)
	}
	for r.exchange(conn, in, s) {
	}
}

// exchange serves a request. It reports whether another one may follow.
func (r *recorder) exchange(conn net.Conn, in *bufio.Reader, s seen) bool {
	req, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return false
	}
	s.Method, s.Path, s.Host, s.Body = req.Method, req.RequestURI, req.Host, string(body)
	s.Header = map[string][]string{}
	for name, values := range req.Header {
		s.Header[strings.ToLower(name)] = values
	}
	upgrade := strings.EqualFold(req.Header.Get("Upgrade"), "websocket") && strings.Contains(strings.ToLower(req.Header.Get("Connection")), "upgrade")
	if req.URL.Path == verifyPath {
		status := "200"
		if req.Header.Get("Authorization") == "" {
			status = "401"
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s Verified\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
		return false
	}
	if tag := req.Header.Get(tagHeader); tag != "" {
		r.mu.Lock()
		r.seen[tag] = append(r.seen[tag], s)
		r.mu.Unlock()
	} else if req.URL.Path == "/health" {
		r.mu.Lock()
		r.checked++
		r.mu.Unlock()
	}
	answer := req.Header.Get(answerHeader)
	if upgrade && answer == "" {
		w, err := wspeer.Accept(conn, in, req)
		for err == nil {
			var text string
			if text, err = w.Message(); err == nil {
				err = w.SendText(text)
			}
		}
		return false
	}
	lines := strings.Split(answer, "|")
	if lines[0] == "" {
		lines[0] = "200"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s Answered\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n", lines[0])
	for _, line := range lines[1:] {
		fmt.Fprintf(&b, "%s\r\n", line)
	}
	closes := req.Close || req.ProtoMinor == 0
	if closes {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	if req.Method != http.MethodHead {
		b.WriteString("ok")
	}
	_, err = conn.Write(b.Bytes())
	return err == nil && !closes
}

// proxySignature begins a PROXY header of version 2.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// readProxyHeader reads a PROXY header, if there is one, and returns the client's address that it has.
func readProxyHeader(in *bufio.Reader) (source string, err error) {
	first, err := in.Peek(1)
	if err != nil || first[0] != 'P' && first[0] != '\r' {
		return "", err
	}
	if first, err = in.Peek(6); err == nil && string(first) == "PROXY " {
		line, err := in.ReadString('\n')
		if fields := strings.Fields(line); err == nil && len(fields) > 2 {
			return fields[2], nil
		}
		return "unknown", err
	}
	if first, err = in.Peek(16); err != nil || !bytes.HasPrefix(first, proxySignature) {
		return "", nil // another word that begins with P, such as POST
	}
	rest := make([]byte, 16+int(binary.BigEndian.Uint16(first[14:])))
	if _, err := io.ReadFull(in, rest); err != nil {
		return "", err
	}
	if rest[13]>>4 == 1 && len(rest) >= 28 {
		return netip.AddrFrom4([4]byte(rest[16:20])).String(), nil
	}
	return "local", nil
}

// names returns the sorted names of cookies that are set.
func cookieNames(res *http.Response) (names []string) {
	for _, c := range res.Cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}
