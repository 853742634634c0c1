package httpproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestWholeRequestInTime: Timeouts.Whole bounds a request from its head to the end of the
// answer. A client without an answer gets 504, another one an answer that breaks off.
func TestWholeRequestInTime(t *testing.T) {
	const soon = 100 * time.Millisecond
	whole := func(d time.Duration) Options {
		return Options{Timeouts: func(*http.Request) Timeouts { return Timeouts{Whole: d} }}
	}
	end := make(chan struct{})
	hanging := backend(t, func(http.ResponseWriter, *http.Request) { <-end })
	endless := backend(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // each piece comes in time
			io.WriteString(w, "piece\n")
			w.(http.Flusher).Flush()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	t.Cleanup(func() { close(end) })

	t.Run("no answer", func(t *testing.T) {
		r := newRig(t, whole(soon), nil, hanging, hanging)
		began := time.Now()
		res, err := r.client().Get(r.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, res); res.StatusCode != 504 || got != "504: the request took too long\n" || time.Since(began) < soon {
			t.Errorf("%d %q after %v", res.StatusCode, got, time.Since(began))
		}
	})
	t.Run("a body that doesn't end", func(t *testing.T) {
		r := newRig(t, whole(soon), nil, hanging)
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url(""), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 504 {
			t.Errorf("%v, %v", res, err)
		}
	})
	t.Run("an answer that doesn't end", func(t *testing.T) {
		r := newRig(t, whole(soon), nil, endless)
		res, err := r.client().Get(r.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); err == nil || !strings.HasPrefix(string(got), "piece\n") {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("in time", func(t *testing.T) {
		r := newRig(t, whole(time.Hour), nil, backend(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
		for range 3 {
			res, err := r.client().Post(r.url("/"), "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res); got != "body" {
				t.Errorf("%d %q", res.StatusCode, got)
			}
		}
	})
}
