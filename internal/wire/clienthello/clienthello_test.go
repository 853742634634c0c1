package clienthello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// facts is what a test compares.
type facts struct {
	name      string
	protocols []string
	versions  []uint16
	legacy    uint16
}

func factsOf(h Hello) (f facts) {
	f.name, f.legacy = string(h.ServerName), h.LegacyVersion
	for p := range h.Protocols() {
		f.protocols = append(f.protocols, string(p))
	}
	for v := range h.Versions() {
		if v&0x0f0f != 0x0a0a { // GREASE
			f.versions = append(f.versions, v)
		}
	}
	return f
}

func (f facts) equal(g facts) bool {
	return f.name == g.name && f.legacy == g.legacy && slices.Equal(f.protocols, g.protocols) && slices.Equal(f.versions, g.versions)
}

// script is a net.Conn that gives input and keeps what is written.
type script struct {
	net.Conn
	input  io.Reader
	output bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.input.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.output.Write(p) }
func (s *script) Close() error                { return nil }
func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) LocalAddr() net.Addr         { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

// helloOf returns what crypto/tls sends first.
func helloOf(config *tls.Config) []byte {
	s := &script{input: strings.NewReader("")}
	tls.Client(s, config).Handshake()
	return s.output.Bytes()
}

// captured is a file of testdata: what a program sent first, in PEM.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return block.Bytes
}

// records puts a message into records of these sizes, and the rest into one.
func records(message []byte, sizes ...int) (out []byte) {
	for i := 0; len(message) > 0; i++ {
		n := min(len(message), maxRecord)
		if i < len(sizes) {
			n = min(n, sizes[i])
		}
		out = binary.BigEndian.AppendUint16(append(out, recordHandshake, 3, 1), uint16(n))
		out = append(out, message[:n]...)
		message = message[n:]
	}
	return out
}

var (
	versions13 = []uint16{tls.VersionTLS13, tls.VersionTLS12}
	long       = strings.Repeat("a.", 100) + "example.com"
)

// hellos are of real clients. The files were made with openssl s_client of OpenSSL
// 3.0.19, tls.connect of Node 20.20 and Chromium 156.
func hellos(t testing.TB) map[string]struct {
	wire []byte
	want facts
} {
	type hello = struct {
		wire []byte
		want facts
	}
	return map[string]hello{
		"go": {
			helloOf(&tls.Config{ServerName: "chat.example.com", NextProtos: []string{"h2", "http/1.1"}}),
			facts{"chat.example.com", []string{"h2", "http/1.1"}, versions13, tls.VersionTLS12},
		},
		"go, no name": {
			helloOf(&tls.Config{InsecureSkipVerify: true}),
			facts{"", nil, versions13, tls.VersionTLS12},
		},
		"go, X25519 only": {
			helloOf(&tls.Config{ServerName: "a.b", CurvePreferences: []tls.CurveID{tls.X25519}}),
			facts{"a.b", nil, versions13, tls.VersionTLS12},
		},
		"go, TLS 1.2": {
			helloOf(&tls.Config{ServerName: long, MaxVersion: tls.VersionTLS12, NextProtos: []string{"x"}}),
			facts{long, []string{"x"}, []uint16{tls.VersionTLS12}, tls.VersionTLS12},
		},
		"go, TLS 1.0": {
			helloOf(&tls.Config{ServerName: "old", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}),
			facts{"old", nil, []uint16{tls.VersionTLS10}, tls.VersionTLS10},
		},
		"openssl": {
			captured(t, "openssl"),
			facts{"Chat.Example.com", []string{"http/1.1", "foo"}, []uint16{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10}, tls.VersionTLS12},
		},
		"openssl -tls1_2": {
			captured(t, "openssl12"),
			facts{"chat.example.com", nil, nil, tls.VersionTLS12},
		},
		"node": {
			captured(t, "node"),
			facts{"chat.example.com", []string{"h2", "http/1.1"}, versions13, tls.VersionTLS12},
		},
		"chromium, with GREASE and ECH": {
			captured(t, "chromium"),
			facts{"chat.example.com", []string{"h2", "http/1.1"}, versions13, tls.VersionTLS12},
		},
	}
}

// message takes the message out of a hello in one record.
func message(wire []byte) []byte { return wire[recordHeader:] }

func TestClients(t *testing.T) {
	for name, hello := range hellos(t) {
		t.Run(name, func(t *testing.T) {
			h, err := Parse(hello.wire)
			if got := factsOf(h); err != nil || !got.equal(hello.want) {
				t.Fatalf("%+v, %v; want %+v", got, err, hello.want)
			}
			// What follows it isn't looked at.
			h, err = Parse(append(slices.Clip(hello.wire), "\x17\x03\x03 and so on"...))
			if got := factsOf(h); err != nil || !got.equal(hello.want) {
				t.Errorf("with bytes after it: %+v, %v", got, err)
			}
			checkEveryCut(t, hello.wire, hello.want)
		})
	}
}

// TestRecords puts hellos into two records in each way, and into records of a byte.
func TestRecords(t *testing.T) {
	for name, hello := range hellos(t) {
		t.Run(name, func(t *testing.T) {
			m := message(hello.wire)
			for cut := 1; cut < len(m); cut++ {
				wire := records(m, cut)
				h, err := Parse(wire)
				if got := factsOf(h); err != nil || !got.equal(hello.want) {
					t.Fatalf("cut at %d: %+v, %v", cut, got, err)
				}
				if _, err := Parse(wire[:len(wire)-1]); err != ErrMore {
					t.Fatalf("cut at %d, without the last byte: %v", cut, err)
				}
			}
			checkEveryCut(t, records(m, slices.Repeat([]int{1}, len(m))...), hello.want)
			checkEveryCut(t, records(m, 3, 2, len(m)/2), hello.want)
			checkEveryCut(t, records(m, 4), hello.want)
		})
	}
}

// checkEveryCut lets wire come byte by byte to one Parser, and looks at a part of it with
// a new one, which takes a time that is quadratic in the number of records.
func checkEveryCut(t *testing.T, wire []byte, want facts) {
	t.Helper()
	var p Parser
	for n := range len(wire) {
		if _, err := p.Parse(wire[:n:n]); err != ErrMore {
			t.Fatalf("byte by byte, after %d of %d: %v", n, len(wire), err)
		}
		if n%7 != 0 && len(wire) > 5000 {
			continue
		}
		if _, err := Parse(wire[:n:n]); err != ErrMore {
			t.Fatalf("%d of %d: %v", n, len(wire), err)
		}
	}
	h, err := p.Parse(wire)
	if got := factsOf(h); err != nil || !got.equal(want) {
		t.Fatalf("byte by byte: %+v, %v; want %+v", got, err, want)
	}
}

func TestNotTLS(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\n", "G", "PRI * HTTP/2.0\r\n", "PROXY TCP4 ", "SSH-2.0-x", "\r\n\r\n\x00\r\nQUIT\n",
		"\x80\x2e\x01\x03\x01", // SSL 2
		"\x15\x03\x01\x00\x02", // an alert
		"\x17\x03\x03\x00\x10", // application data
		"\x16GET",
	} {
		if _, err := Parse([]byte(text)); err != ErrNotTLS {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "\x16", "\x16\x03", "\x16\x03\x01\x00"} {
		if _, err := Parse([]byte(text)); err != ErrMore {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// hello makes a message with these extensions.
func hello(extensions ...string) []byte {
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00"
	if extensions != nil {
		body += vector16(strings.Join(extensions, ""))
	}
	return append([]byte{messageHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func vector16(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }
func vector8(s string) string  { return string(rune(len(s))) + s } // below 128
func extension(kind uint16, data string) string {
	return string(binary.BigEndian.AppendUint16(nil, kind)) + vector16(data)
}
func name(host string) string { return "\x00" + vector16(host) }
func names(list ...string) string {
	return extension(extServerName, vector16(strings.Join(list, "")))
}

func TestAccepted(t *testing.T) {
	longest := strings.Repeat("x", 255)
	for _, c := range []struct {
		about string
		m     []byte
		want  facts
	}{
		{"no extensions at all", hello(), facts{}},
		{"an empty list of extensions", hello(""), facts{}},
		{"GREASE everywhere", hello(extension(0x0a0a, ""), names(name("a")), extension(0xfafa, "\x00")), facts{name: "a"}},
		{"a name of another type", hello(names("\x01"+vector16("\xff"), name("a"))), facts{name: "a"}},
		{"the longest name", hello(names(name(longest))), facts{name: longest}},
		{"protocols of any bytes", hello(extension(extProtocols, vector16("\x02\x0a\x0a\x01\x00"))), facts{protocols: []string{"\x0a\x0a", "\x00"}}},
	} {
		c.want.legacy = tls.VersionTLS12
		h, err := Parse(records(c.m))
		if got := factsOf(h); err != nil || !got.equal(c.want) {
			t.Errorf("%s: %+v, %v", c.about, got, err)
		}
	}
}

func TestRejected(t *testing.T) {
	good := hello(names(name("a")))
	set := func(i int, c byte) []byte {
		m := slices.Clone(good)
		m[i] = c
		return m
	}
	huge := hello(extension(1000, strings.Repeat("x", 65000)))
	many := records(hello(extension(1000, strings.Repeat("x", 12000))), slices.Repeat([]int{1}, 12000)...)
	for _, c := range []struct {
		about string
		wire  []byte
		want  error
		at    int // how many bytes are enough to see it; 0 means all
	}{
		{"another message", records(set(0, 2)), errMessage, 6},
		{"an alert in between", append(records(good[:10]), 0x15), errType, 0},
		{"another version in between", append(records(good[:10]), 22, 0x20), errType, 0},
		{"an empty record", []byte{22, 3, 1, 0, 0}, errEmpty, 0},
		{"an empty record in between", append(records(good[:10]), 22, 3, 1, 0, 0), errEmpty, 0},
		{"a record too long", []byte{22, 3, 1, 0x40, 1}, errLong, 0},
		{"a message too long", []byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf8}, errTooLarge, 0},
		{"a message of 16 MiB", []byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff}, errTooLarge, 0},
		{"a message too long with its records", inSmallRecords(huge), errTooLarge, MaxSize},
		{"too many records", many, errTooLarge, MaxSize},
		{"a session id too long", records(set(4+2+32, 200)), errCut, 0},
		{"an odd length of suites", records(set(4+2+32+2, 1)), errSuites, 0},
		{"bytes after the extensions", records(insert(good, len(good), "\x00")), errRest, 0},
		{"extensions too long", records(set(4+2+32+1+4+2+1, 200)), errCut, 0},
		{"half a type", records(hello("\x00")), errCut, 0},
		{"half an extension", records(hello("\x00\x00\x00\x05\x00")), errCut, 0},
		{"server_name twice", records(hello(names(name("a")), names(name("b")))), errTwice, 0},
		{"GREASE twice", records(hello(extension(0xaaaa, ""), extension(0xaaaa, ""))), errTwice, 0},
		{"two names", records(hello(names(name("a"), name("a")))), errNameTwice, 0},
		{"an empty name", records(hello(names(name("")))), errName, 0},
		{"no names", records(hello(names())), errName, 0},
		{"an empty server_name", records(hello(extension(extServerName, ""))), errName, 0},
		{"half a name", records(hello(names("\x00\x00\x05a"))), errName, 0},
		{"bytes after the names", records(hello(extension(extServerName, vector16(name("a"))+"x"))), errName, 0},
		{"a name too long", records(hello(names(name(strings.Repeat("x", 256))))), errNameLength, 0},
		{"a name with NUL", records(hello(names(name("a\x00b")))), errNameByte, 0},
		{"a name with a line end", records(hello(names(name("a\nb")))), errNameByte, 0},
		{"a name with a space", records(hello(names(name("a b")))), errNameByte, 0},
		{"a name in UTF-8", records(hello(names(name("ä")))), errNameByte, 0},
		{"a name with a dot at its end", records(hello(names(name("a.")))), errNameDot, 0},
		{"no protocols", records(hello(extension(extProtocols, vector16("")))), errProtocols, 0},
		{"an empty protocol", records(hello(extension(extProtocols, vector16("\x01a\x00")))), errProtocols, 0},
		{"half a protocol", records(hello(extension(extProtocols, vector16("\x02a")))), errProtocols, 0},
		{"bytes after the protocols", records(hello(extension(extProtocols, vector16("\x01a")+"x"))), errProtocols, 0},
		{"no versions", records(hello(extension(extVersions, vector8("")))), errVersions, 0},
		{"half a version", records(hello(extension(extVersions, vector8("\x03")))), errVersions, 0},
		{"bytes after the versions", records(hello(extension(extVersions, vector8("\x03\x04")+"x"))), errVersions, 0},
	} {
		t.Run(c.about, func(t *testing.T) {
			if _, err := Parse(c.wire); err != c.want {
				t.Fatalf("%v; want %v", err, c.want)
			}
			enough := c.at
			if enough == 0 {
				enough = len(c.wire)
			}
			var p Parser
			for n := range enough {
				if _, err := p.Parse(c.wire[:n]); err != ErrMore {
					t.Fatalf("after %d bytes: %v; want %v", n, err, ErrMore)
				}
			}
			if _, err := p.Parse(c.wire[:enough]); err != c.want {
				t.Errorf("after %d bytes: %v; want %v", enough, err, c.want)
			}
			var syntax SyntaxError
			if !errors.As(c.want, &syntax) {
				t.Errorf("%v is not a SyntaxError", c.want)
			}
		})
	}
}

// inSmallRecords puts a message that just fits by its own length into so many records that
// it doesn't.
func inSmallRecords(m []byte) []byte { return records(m, slices.Repeat([]int{300}, 300)...) }

// insert inserts text and repairs the length of the message.
func insert(m []byte, i int, text string) []byte {
	m = slices.Insert(slices.Clone(m), i, []byte(text)...)
	n := len(m) - messageHeader
	m[1], m[2], m[3] = byte(n>>16), byte(n>>8), byte(n)
	return m
}

// TestLargest checks that what is just as large as allowed is read.
func TestLargest(t *testing.T) {
	fixed := len(hello(names(name("a")), extension(1000, "")))
	room := MaxSize - 4*recordHeader - fixed // 64 KiB less 20 bytes take four records
	m := hello(names(name("a")), extension(1000, strings.Repeat("x", room)))
	wire := records(m)
	if len(wire) != MaxSize {
		t.Fatalf("the test made %d bytes", len(wire))
	}
	h, err := Parse(append(wire, "more"...))
	if err != nil || string(h.ServerName) != "a" {
		t.Errorf("%q, %v", h.ServerName, err)
	}
}

func TestOffers(t *testing.T) {
	h, err := Parse(hellos(t)["node"].wire)
	if err != nil || !h.Offers("h2") || !h.Offers("http/1.1") || h.Offers("http") || h.Offers("") {
		t.Errorf("offers are wrong, %v", err)
	}
	for range h.Protocols() {
		break
	}
	for range h.Versions() {
		break
	}
}

func TestAllocations(t *testing.T) {
	wire := hellos(t)["chromium, with GREASE and ECH"].wire
	split := records(message(wire), 100, 100)
	bad := records(hello(names(name("a"), name("a"))))
	sum := 0
	use := func(b []byte) {
		var p Parser
		p.Parse(b[:len(b)/2])
		h, _ := p.Parse(b)
		for v := range h.Versions() {
			sum += int(v)
		}
		for p := range h.Protocols() {
			sum += len(p)
		}
		if h.Offers("h3") {
			sum++
		}
	}
	for _, c := range []struct {
		about string
		b     []byte
		want  float64
	}{{"one record", wire, 0}, {"three records", split, 1}, {"malformed", bad, 0}, {"HTTP", []byte("GET / HTTP/1.1\r\n"), 0}} {
		if got := testing.AllocsPerRun(100, func() { use(c.b) }); got != c.want {
			t.Errorf("%s: %v allocations, want %v", c.about, got, c.want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	wire := captured(b, "chromium")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleParser() {
	wire := helloOf(&tls.Config{ServerName: "chat.example.com", NextProtos: []string{"http/1.1"}})
	var p Parser
	for n := 1; ; n++ {
		h, err := p.Parse(wire[:n])
		if err == ErrMore {
			continue
		}
		fmt.Println(string(h.ServerName), h.Offers("http/1.1"), err)
		return
	}
	// Output: chat.example.com true <nil>
}
