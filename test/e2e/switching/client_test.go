//go:build linux

package switching

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// request is what a client sends.
type request struct {
	Client       string   // its address
	Listener     listener // where it connects
	WebSocket    bool
	Method, Path string
	Host         string
	Header       []string
	Body         string
	Certificate  *tls.Certificate `json:"-"`
}

func (r request) String() string {
	kind := r.Method
	if r.WebSocket {
		kind = "WebSocket"
	}
	return fmt.Sprintf("%s to %s: %s %s, Host %s, %q", r.Client, r.Listener, kind, r.Path, r.Host, r.Header)
}

// result is what came of a request, on both sides of a balancer.
type result struct {
	Status    int // 0: the connection ended without an answer
	Location  string
	Cookies   []string // names of those that were set
	Value     []string // the cookies themselves, to be sent back
	Challenge string   // WWW-Authenticate
	Echo      bool     // a message came back
	Sticks    bool     // further requests with the cookies went to the same server
	Seen      []seen
}

// send sends a request to a balancer.
func send(r request, tag string, rec *recorder) (res result) {
	defer func() { res.Seen = rec.take(tag) }()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(r.Client)}, Timeout: testkit.Patience}
	conn, err := d.Dial("tcp", r.Listener.dial())
	if err != nil {
		return res
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	if r.Listener.Proxied {
		at := conn.RemoteAddr().(*net.TCPAddr)
		fmt.Fprintf(conn, "PROXY TCP4 %s %s 4711 %d\r\n", r.Client, at.IP, at.Port)
	}
	if r.Listener.TLS {
		name, _, _ := strings.Cut(r.Host, ":")
		config := &tls.Config{ServerName: name, InsecureSkipVerify: true}
		if r.Certificate != nil {
			config.Certificates = []tls.Certificate{*r.Certificate}
		}
		secure := tls.Client(conn, config)
		if secure.Handshake() != nil {
			return res
		}
		conn = secure
	}
	key := wspeer.NewKey()
	header := append([]string{tagHeader + ": " + tag}, r.Header...)
	head := wspeer.RequestHead(r.Host, r.Path, key, header)
	if !r.WebSocket {
		head = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", r.Method, r.Path, r.Host, strings.Join(header, "\r\n"))
		if r.Body != "" {
			head += fmt.Sprintf("Content-Length: %d\r\n", len(r.Body))
		}
		head += "\r\n" + r.Body
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return res
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, &http.Request{Method: r.Method})
	if err != nil {
		return res
	}
	res.Status, res.Location = answer.StatusCode, answer.Header.Get("Location")
	res.Challenge = answer.Header.Get("WWW-Authenticate")
	res.Cookies = cookieNames(answer)
	for _, c := range answer.Cookies() {
		res.Value = append(res.Value, c.Name+"="+c.Value)
	}
	if res.Status != http.StatusSwitchingProtocols {
		io.Copy(io.Discard, answer.Body)
		return res
	}
	w := &wspeer.Conn{Conn: conn, In: in, Masks: true}
	res.Echo = w.RoundTrip("echo of "+tag) == nil
	if res.Echo && w.SendClose(1000, "") == nil {
		w.ReadFrame()
	}
	return res
}
