package httpproxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// piecewise is a connection from which only reads are made.
type piecewise struct {
	net.Conn
	io.Reader
}

func (p piecewise) Read(b []byte) (int, error)      { return p.Reader.Read(b) }
func (p piecewise) SetReadDeadline(time.Time) error { return nil }

func isPlain(req *httphead.Request) bool { return !req.Fields.HasToken("upgrade", "websocket") }

// through returns what net/http reads of a stream that comes in pieces, and what
// goes back to the spine.
func through(stream []byte, already int, reader func(io.Reader) io.Reader) (passed, back []byte, err error) {
	h := newHeads(piecewise{Reader: reader(bytes.NewReader(stream[already:]))}, bytes.Clone(stream[:already]), isPlain, Limits{Head: time.Minute, HeadBytes: 300})
	passed, err = io.ReadAll(readerFunc(h.read))
	if h.part == handedBack {
		back = h.rest()
	}
	return passed, back, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestHeads(t *testing.T) {
	const get, post = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
	const chunked = "POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	const ws = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
	for name, tt := range map[string]struct {
		stream string
		passed string // besides the stand-in, if something goes back
		back   string
		broken bool
	}{
		"one":                       {get, get, "", false},
		"several":                   {get + post + get, get + post + get, "", false},
		"empty lines between":       {"\r\n" + get + post + "\r\n" + get + "\r\n", get + post + get, "", false},
		"chunked":                   {chunked + "4\r\nbody\r\n00A ;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + get, chunked + "4\r\nbody\r\n00A ;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + get, "", false},
		"a body that breaks off":    {get + post[:len(post)-1], get + post[:len(post)-1], "", false},
		"a WebSocket":               {get + ws + "early", get, ws + "early", false},
		"a WebSocket at once":       {ws, "", ws, false},
		"malformed":                 {post + "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n" + get, post, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n" + get, false},
		"both lengths":              {get + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", get, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
		"truncated":                 {get + "\r\n" + get[:10], get, get[:10], false},
		"too large":                 {get + "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 300), get, "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 300), false},
		"half an empty line":        {get + "\r", get, "", false},
		"TLS":                       {get + "\x16\x03\x01", get, "\x16\x03\x01", false},
		"chunk without a size":      {chunked + ";x\r\n", chunked, "", true},
		"chunk with a sign":         {chunked + "+4\r\nbody\r\n", chunked, "", true},
		"chunk with a huge size":    {chunked + "10000000000000000\r\n", chunked, "", true},
		"chunk's line too long":     {chunked + "4;" + strings.Repeat("x", 5000) + "\r\n", chunked, "", true},
		"chunk's line with bare LF": {chunked + "4\nbody\r\n", chunked, "", true},
		"control byte in a chunk's": {chunked + "4;\x00\r\nbody\r\n", chunked, "", true},
		"chunk longer than it says": {chunked + "3\r\nbody\r\n", chunked + "3\r\nbod", "", true},
		"bare LF after a chunk":     {chunked + "4\r\nbody\n0\r\n\r\n", chunked + "4\r\nbody", "", true},
		"trailer folded":            {chunked + "0\r\nX: y\r\n z\r\n\r\n", chunked + "0\r\nX: y\r\n", "", true},
		"trailer without a colon":   {chunked + "0\r\nX\r\n\r\n", chunked + "0\r\n", "", true},
		"trailers too large":        {chunked + "0\r\n" + strings.Repeat("X: y\r\n", 200) + "\r\n", chunked + "0\r\n" + strings.Repeat("X: y\r\n", 75), "", true},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "by halves": iotest.HalfReader, "bytewise": iotest.OneByteReader} {
			for _, already := range []int{0, 1, len(tt.stream) / 2} {
				passed, back, err := through([]byte(tt.stream), already, reader)
				want := tt.passed
				if tt.back != "" {
					want += standIn
				}
				// What follows a head that goes back may not have arrived yet.
				if string(passed) != want || !strings.HasPrefix(tt.back, string(back)) || (len(back) > 0) != (tt.back != "") || (err == errBrokenBody) != tt.broken || !tt.broken && err != nil {
					t.Errorf("%s, %s: passed on %q, gave back %q, %v; want %q and %q", name, how, passed, back, err, want, tt.back)
				}
			}
		}
	}
}

// FuzzHeads: net/http accepts everything that is passed on and reads the same
// requests from it, in whatever pieces the stream comes.
func FuzzHeads(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\nearly",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\nGET http://b/ HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n4;x\r\nbody\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		passed, back, err := through(stream, 0, func(r io.Reader) io.Reader { return r })
		slowly, slowlyBack, slowlyErr := through(stream, 0, iotest.OneByteReader)
		if !bytes.Equal(passed, slowly) || err != slowlyErr || (back == nil) != (slowlyBack == nil) {
			t.Fatalf("passed on %q (%v), and of single bytes %q (%v)", passed, err, slowly, slowlyErr)
		}
		if back != nil {
			passed = passed[:len(passed)-len(standIn)]
		}
		var h httphead.Request
		for from := bufio.NewReader(bytes.NewReader(passed)); ; {
			before, _ := from.Peek(from.Size())
			if len(before) == 0 {
				return
			}
			before = bytes.Clone(before)
			req, err := http.ReadRequest(from)
			if err != nil {
				t.Fatalf("net/http refuses what was passed on, %q: %v", passed, err)
			}
			if n, err := h.Parse(before); n == 0 || string(h.Method) != req.Method || string(h.Target) != req.RequestURI || !isPlain(&h) {
				t.Fatalf("%q was passed on: %v", before, err)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return // it broke off
			}
		}
	})
}
