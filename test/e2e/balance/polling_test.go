//go:build unix

package balance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// pollServer has sessions as in socket.io's HTTP polling: the first request
// gets an id that only this server knows. A GET with an id waits for the POST
// with the same id.
type pollServer struct {
	name string

	mu       sync.Mutex // guards the following
	sessions map[string]chan struct{}
}

func (s *pollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("sid")
	s.mu.Lock()
	if id == "" {
		id = fmt.Sprintf("%s-%d", s.name, len(s.sessions))
		s.sessions[id] = make(chan struct{})
		s.mu.Unlock()
		io.WriteString(w, id)
		return
	}
	posted := s.sessions[id]
	s.mu.Unlock()
	switch {
	case posted == nil:
		http.Error(w, "Session ID unknown", http.StatusBadRequest)
	case r.Method == http.MethodPost:
		close(posted)
	default:
		select {
		case <-posted:
		case <-r.Context().Done():
		}
	}
}

// With balance: hash and its defaults, all requests of a client go to the same
// backend, no matter how many wait there.
func TestHashKeepsPollingClients(t *testing.T) {
	t.Parallel()
	var list string
	for i := range 3 {
		s := httptest.NewServer(&pollServer{name: kit.BackendName(i), sessions: map[string]chan struct{}{}})
		t.Cleanup(s.Close)
		list += fmt.Sprintf("{name: %s, address: %q}, ", kit.BackendName(i), s.Listener.Addr())
	}
	b := kit.StartBalancer(t, kit.ConfigWithPools("  main:\n    balance: hash\n    backends: ["+list+"]")+kit.TrustLocal)
	ask := func(method, query, client string) (int, string) {
		req, err := http.NewRequest(method, "http://"+b.Address+"/socket.io/"+query, nil)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		req.Header.Set("X-Forwarded-For", client)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	const clients = 12
	var waiting sync.WaitGroup
	var ids [clients]string
	for i := range clients {
		client := fmt.Sprintf("192.0.2.%d", i)
		_, ids[i] = ask("GET", "", client)
		waiting.Go(func() {
			if status, _ := ask("GET", "?sid="+ids[i], client); status != http.StatusOK {
				t.Errorf("the poll of client %d got status %d", i, status)
			}
		})
	}
	for i := range clients { // all others may be waiting
		if status, text := ask("POST", "?sid="+ids[i], fmt.Sprintf("192.0.2.%d", i)); status != http.StatusOK {
			t.Errorf("the post of client %d got status %d, %s", i, status, text)
		}
	}
	if !t.Failed() {
		waiting.Wait()
	}
}
