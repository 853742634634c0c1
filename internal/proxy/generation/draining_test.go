package generation

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
)

// TestKeptWhileDraining: until the end of a drain, plain HTTP with a cookie still
// goes to its backend, and so does a handshake that belongs to a session begun by
// it. Others don't, nor does plain HTTP that begins a session.
func TestKeptWhileDraining(t *testing.T) {
	members := newMembers(t)
	p := &Pool{Picker: newPicker(t, balance.Options{}, members),
		Cookie: affinity.NewTable(affinity.Cookie{Name: "holdfast"}, "chat", []string{"a", "b", "c"})}
	const own = 1
	b := members[own].Backend
	cookie, _, _ := strings.Cut(string(p.Cookie.AppendSetCookie(nil, own, false)), ";")
	get := func(target, cookie string) (member int) {
		r := httptest.NewRequest("GET", "http://x"+target, nil)
		r.Header.Set("Cookie", cookie)
		c, _, _, err := p.TakePlain(PlainRequest{Request: r, Forwarded: &forwarded.Policy{}, Target: r.URL.RequestURI()}, balance.Tried{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Backend.Requests() != 1 || c.Backend.State().Sessions != 0 {
			t.Errorf("a request is counted as %d, and as %d sessions", c.Backend.Requests(), c.Backend.State().Sessions)
		}
		c.Backend.ReleaseRequest()
		return c.Index
	}
	const poll, first = "/socket.io/?EIO=4&transport=polling&sid=abc", "/socket.io/?EIO=4&transport=polling"
	plain := func(cookie string) (member int) { return get(poll, cookie) }
	if got := plain(cookie); got != own {
		t.Fatalf("member %d was chosen before the drain", got)
	}
	b.SetAdmin(pool.Drain, "test")
	for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
		b.SetDrainDeadline(until)
		if got := plain(cookie); got != own {
			t.Errorf("member %d was chosen in the drain", got)
		}
		if got := plain(""); got == own {
			t.Error("a new client came to the one that drains")
		}
		if got := get("/page", cookie); got != own {
			t.Errorf("member %d was chosen in the drain, for what may belong to a session", got)
		}
		for _, begin := range []string{first, "/hub/negotiate?negotiateVersion=1"} {
			if got := get(begin, cookie); got == own {
				t.Errorf("%s began a session at the one that drains", begin)
			}
		}
	}
	b.SetDrainDeadline(time.Now().Add(-time.Second))
	if got := plain(cookie); got == own {
		t.Error("it was chosen after the drain's end")
	}
	b.SetDrainDeadline(time.Time{})
	var tried balance.Tried
	tried.Add(own)
	if c, _, _, _ := p.take(bearing("cookie", cookie), tried); c.Index == own {
		t.Error("it was chosen again although it was tried")
	} else {
		c.Backend.Release()
	}

	for query, want := range map[string]bool{
		"":                                         false,
		"EIO=4&transport=websocket":                false,
		"EIO=4&transport=websocket&sid=":           false,
		"EIO=4&transport=websocket&sid=abc":        true,
		"sid=abc&EIO=4&transport=websocket&":       true,
		"EIO=4&transport=polling&sid=abc":          false,
		"id=room5":                                 false,
		"access_token=x&id=0123456789abcdefABCD-_": true,
		"xid=0123456789abcdefABCD-_":               false,
	} {
		if got := joinsSession([]byte(query)); got != want {
			t.Errorf("a handshake with %q is kept: %v, want %v", query, got, want)
		}
	}
}

func TestBeginsSession(t *testing.T) {
	for target, want := range map[string]bool{
		"/":                                   false,
		"/socket.io/?EIO=4&transport=polling": true,
		"/socket.io/?EIO=4&transport=polling&sid=":    true,
		"/socket.io/?EIO=4&transport=polling&sid=abc": false,
		"/socket.io/?sid=abc&EIO=4&transport=polling": false,
		"/socket.io/?transport=polling":               false,
		"/hub/negotiate":                              true,
		"/hub/negotiate?negotiateVersion=1":           true,
		"/hub?id=0123456789abcdefABCD-_":              false,
		"/renegotiate":                                false,
	} {
		path, query, _ := strings.Cut(target, "?")
		if got := beginsSession([]byte(path), []byte(query)); got != want {
			t.Errorf("%s begins a session: %v, want %v", target, got, want)
		}
	}
}

// TestBackendOfALogin: a client that has logged in on its connection goes to the
// backend where it did.
func TestBackendOfALogin(t *testing.T) {
	members := newMembers(t)
	p := &Pool{Picker: newPicker(t, balance.Options{}, members)}
	r := httptest.NewRequest("GET", "http://x/", nil)
	take := func(tried balance.Tried) int {
		c, _, _, err := p.TakePlain(PlainRequest{Request: r, Forwarded: &forwarded.Policy{}, Target: "/"}, tried, []uint32{members[2].Backend.ID})
		if err != nil {
			t.Fatal(err)
		}
		c.Backend.ReleaseRequest()
		return c.Index
	}
	for range 6 {
		if got := take(balance.Tried{}); got != 2 {
			t.Errorf("member %d was chosen", got)
		}
	}
	members[2].Backend.SetAdmin(pool.Drain, "test")
	if got := take(balance.Tried{}); got != 2 {
		t.Errorf("member %d was chosen in the drain", got)
	}
	var tried balance.Tried
	tried.Add(2)
	if got := take(tried); got == 2 {
		t.Error("it was chosen although it can't be reached")
	}
}
