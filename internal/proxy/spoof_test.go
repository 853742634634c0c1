package proxy_test

import (
	"bufio"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
)

// spoofed are fields that only the balancer may send, in spellings that servers
// treat as the same (RFC 3875 §4.1.18).
var spoofed = []string{
	"X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "x_forwarded-for: 6.6.6.6", "X.Forwarded.For: 6.6.6.6",
	"X_Real_IP: 6.6.6.6", "X-Real-IP: 6.6.6.6", "X_Forwarded_Proto: gopher-6.6.6.6", "X-Forwarded_User: 6.6.6.6", "Forwarded: for=6.6.6.6",
	"Holdfast-Session: 6.6.6.6", "Holdfast_Session: 6.6.6.6", "HOLDFAST-control: 6.6.6.6", "Holdfast_From: 6.6.6.6", "Holdfast-Move: 6.6.6.6",
	"Transfer_Encoding: 6.6.6.6",
}

// TestSpoofedFields: none of them reaches a backend, in the header of a
// handshake or of plain HTTP, or as a trailer. Others do.
func TestSpoofedFields(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		got := make(chan string, 1) // a plain request's header and trailers
		server := newBackend(t, func(p *peer, head string) {
			if strings.Contains(head, "Upgrade: websocket") {
				got <- head
				io.WriteString(p, switching())
				io.Copy(io.Discard, p.br)
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), p.br)))
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, req.Body)
			all := new(strings.Builder)
			all.WriteString(head)
			req.Trailer.Write(all)
			got <- all.String()
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			p.Close()
		})
		for who, s := range map[string]setup{
			"a stranger":      {backends: []string{server.addr}},
			"a trusted proxy": {backends: []string{server.addr}, trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		} {
			b := start(t, engine, s)
			sent := append([]string{"X-Mine: 1", "X_Mine_Too: 2"}, spoofed...)
			if s.trust != nil { // those that are spelt as they must be are believed
				sent = []string{"X-Mine: 1", "X_Mine_Too: 2", "X-Forwarded-For: 5.5.5.5"}
				for _, field := range spoofed {
					if name, _, _ := strings.Cut(field, ":"); strings.ContainsAny(name, "_.") || strings.HasPrefix(strings.ToLower(name), "holdfast") {
						sent = append(sent, field)
					}
				}
			}
			check := func(what, client string) {
				t.Helper()
				head := <-got
				if strings.Contains(head, "6.6.6.6") || !strings.Contains(head, "Mine: 1\r\n") || !strings.Contains(head, "Too: 2\r\n") && !strings.Contains(head, "too: 2\r\n") {
					t.Errorf("%s of %s, the backend was sent\n%s", what, who, head)
				}
				if xff := field(t, head, "X-Forwarded-For"); xff != client+"127.0.0.1" {
					t.Errorf("%s of %s: X-Forwarded-For is %q, want %q", what, who, xff, client+"127.0.0.1")
				}
			}
			client := ""
			if s.trust != nil {
				client = "5.5.5.5, "
			}
			b.dial().send(upgrade("/", sent...)).want(101)
			check("a handshake", client)
			b.dial().send("GET / HTTP/1.1\r\nHost: a\r\n" + lines(sent) + "\r\n").want(200)
			check("a plain request", client)
			body := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
			b.dial().send(body + "\r\n1\r\nx\r\n0\r\n" + lines(sent) + "\r\n").want(200)
			<-got // trailers that weren't announced need not be passed on
			var names []string
			for _, field := range sent {
				if name, _, _ := strings.Cut(field, ":"); !strings.HasPrefix(name, "Transfer") {
					names = append(names, name)
				}
			}
			b.dial().send(body + "Trailer: " + strings.Join(names, ", ") + "\r\n\r\n1\r\nx\r\n0\r\n" + lines(sent) + "\r\n").want(200)
			check("trailers", "")
		}
	})
}

// TestClientCertificateFields: a backend gets what the balancer knows about the
// client's certificate, and nothing that a client says about it, whether it speaks
// TLS or not, and whether it is trusted or not.
func TestClientCertificateFields(t *testing.T) {
	policy := clientcert.New(map[string][]clientcert.Field{"public": {
		{Name: "X-Forwarded-Tls-Client-Cert-Info", Fact: clientcert.Subject}, {Name: "Client-Verified", Fact: clientcert.Verified}}})
	subject, err := asn1.Marshal(pkix.Name{CommonName: "me"}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	fake := []string{"X-Forwarded-Tls-Client-Cert-Info: CN=6.6.6.6", "x_forwarded_tls_client_cert_info: CN=6.6.6.6", "CLIENT-VERIFIED: 6.6.6.6", "Client_Verified: 6.6.6.6"}
	for _, tt := range []struct {
		name, listener   string
		trust            bool
		tls              *transport.TLS
		subject, checked string // "" if the field isn't to be there
	}{
		{"no TLS", "public", false, nil, "", "false"},
		{"no certificate", "public", false, &transport.TLS{}, "", "false"},
		{"a certificate", "public", false, &transport.TLS{Certificate: &x509.Certificate{RawSubject: subject}}, "CN=me", "true"},
		{"a certificate of a trusted proxy", "public", true, &transport.TLS{Certificate: &x509.Certificate{RawSubject: subject}}, "CN=me", "true"},
		{"another listener", "inner", false, &transport.TLS{Certificate: &x509.Certificate{RawSubject: subject}}, "", ""},
		{"a plain listener, a trusted proxy", "inner", true, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				s := setup{backends: []string{server.addr}, clientCert: policy, tls: tt.tls, listener: transport.ListenerSpec{Name: tt.listener}}
				if tt.trust {
					s.trust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
				b := start(t, engine, s)
				plain := "GET / HTTP/1.1\r\nHost: a\r\n" + lines(fake) + "\r\n"
				c := b.dial()
				c.send(plain).want(200)
				c.send(plain).want(200)
				b.dial().send(upgrade("/", fake...)).want(101)
				_, heads := server.seen()
				if len(heads) != 3 {
					t.Fatalf("the backend was sent %q", heads)
				}
				proto := "http"
				if tt.tls != nil {
					proto = "https"
				}
				for _, head := range heads {
					got := [...]string{field(t, head, "X-Forwarded-Tls-Client-Cert-Info"), field(t, head, "Client-Verified"), field(t, head, "X-Forwarded-Proto")}
					if want := [...]string{tt.subject, tt.checked, proto}; got != want || strings.Contains(head, "6.6.6.6") {
						t.Errorf("the backend was sent %q in\n%s\nwant %q", got, head, want)
					}
				}
			})
		})
	}
}

// TestSchemeOfTLS: a client that speaks TLS can't say that it doesn't. A trusted
// proxy is believed, whatever it speaks itself.
func TestSchemeOfTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		for _, tt := range []struct {
			trust bool
			claim string
			want  string
		}{{false, "http", "https"}, {true, "http", "http"}, {true, "https", "https"}} {
			server := echoing(t, "a")
			s := setup{backends: []string{server.addr}, tls: &transport.TLS{}}
			if tt.trust {
				s.trust = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
			b := start(t, engine, s)
			claim := "X-Forwarded-Proto: " + tt.claim
			b.dial().send("GET / HTTP/1.1\r\nHost: a\r\n" + claim + "\r\n\r\n").want(200)
			b.dial().send(upgrade("/", claim)).want(101)
			_, heads := server.seen()
			for _, head := range heads {
				if got := field(t, head, "X-Forwarded-Proto"); got != tt.want || !strings.HasSuffix(field(t, head, "Forwarded"), "proto=https") {
					t.Errorf("of %q, trusted %t, became %q in\n%s", tt.claim, tt.trust, got, head)
				}
			}
		}
	})
}

// TestForwardedOrigin: a backend gets what was asked for, also if that is in the
// target, and what the first of several proxies said.
func TestForwardedOrigin(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name, target, host string
		trust              []netip.Prefix
		sent               []string
		want               [4]string // Host, X-Forwarded-Host, -Port and -Proto; no port is the listener's
	}{
		{"a target with a host", "http://good.example/ws", "evil.example", nil, nil, [4]string{"good.example", "good.example", "", "http"}},
		{"a target with a port", "http://good.example:8443/ws", "evil.example", nil, nil, [4]string{"good.example:8443", "good.example:8443", "8443", "http"}},
		{"a target of a WebSocket", "wss://good.example/ws", "good.example", nil, nil, [4]string{"good.example", "good.example", "", "http"}},
		{"an empty port", "/ws", "good.example:", nil, nil, [4]string{"good.example:", "good.example", "", "http"}},
		{"a port", "/ws", "good.example:8443", nil, nil, [4]string{"good.example:8443", "good.example:8443", "8443", "http"}},
		{"two proxies in a field", "/ws", "inner", loopback, []string{"X-Forwarded-Proto: https, http"}, [4]string{"inner", "inner", "443", "https"}},
		{"two proxies in two fields", "/ws", "inner:8443", loopback, []string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, [4]string{"inner:8443", "inner:8443", "8443", "https"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				b := start(t, engine, setup{backends: []string{server.addr}, trust: tt.trust})
				head := "GET " + tt.target + " HTTP/1.1\r\nHost: " + tt.host + "\r\n" + lines(tt.sent)
				ws := strings.Replace(upgrade(tt.target, tt.sent...), "ws.example.com", tt.host, 1)
				b.dial().send(ws).want(101)
				b.dial().send(head + "\r\n").want(200)
				// The same on one connection.
				c := b.dial()
				c.send(head + "\r\n").want(200)
				c.send(head + "\r\n").want(200)
				c.send(ws).want(101)
				_, heads := server.seen()
				if len(heads) != 5 {
					t.Fatalf("the backend was sent %q", heads)
				}
				_, port, _ := strings.Cut(b.addr, ":")
				if tt.want[2] != "" {
					port = tt.want[2]
				}
				for i, head := range heads {
					got := [4]string{field(t, head, "Host"), field(t, head, "X-Forwarded-Host"), field(t, head, "X-Forwarded-Port"), field(t, head, "X-Forwarded-Proto")}
					if want := [4]string{tt.want[0], tt.want[1], port, tt.want[3]}; got != want {
						t.Errorf("request %d: host, X-Forwarded-Host, -Port and -Proto are %q, want %q", i+1, got, want)
					}
					if !strings.HasPrefix(head, "GET /ws HTTP/1.1\r\n") {
						t.Errorf("request %d begins %.40q", i+1, head)
					}
				}
			})
		})
	}
}
