package app_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// A request to the admin interface that comes while listeners are being opened is answered
// when they are.
func TestStatusDuringStart(t *testing.T) {
	path := testkit.SocketPath(t)
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	// As another balancer would that takes over a socket there.
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	at := testkit.FreeAddress(t)
	answers := make(chan api.Status, 1)
	go func() {
		defer close(answers)
		var conn net.Conn
		for end := time.Now().Add(testkit.Patience); conn == nil && time.Now().Before(end); {
			conn, _ = net.Dial("tcp", at)
		}
		if conn == nil {
			t.Error("the admin interface doesn't come")
			return
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return conn, nil }}}
		unlock := func() { syscall.Flock(int(folder.Fd()), syscall.LOCK_UN) }
		defer unlock()
		// Start looks for the lock every 10 ms, in which it could answer too early.
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { unlock() }}
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", "http://"+at+"/v1/status", nil)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		var s api.Status
		if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
			t.Error(err)
		}
		answers <- s
	}()
	start(t, fmt.Sprintf("admin: {address: %q}\nlisteners: [{name: local, address: \"unix:%s\"}]\npools: {a: {backends: [{address: \"127.0.0.1:1\"}]}}\n", at, path))
	if s := <-answers; len(s.Listeners) != 1 {
		t.Errorf("the listeners were %+v", s.Listeners)
	}
	<-answers // closed when the folder isn't used any more
}
