package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/awsapi"
)

// fakeServers answers with what is set.
type fakeServers struct {
	mu      sync.Mutex
	servers []awsapi.Server
	problem string
	err     error
	asked   []time.Time
}

func (f *fakeServers) Servers(context.Context) ([]awsapi.Server, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, time.Now())
	return f.servers, f.problem, f.err
}

func (f *fakeServers) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fakeServers) set(ids ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers = nil
	for _, id := range ids {
		f.servers = append(f.servers, awsapi.Server{ID: fmt.Sprint("i-", id), IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(id)})})
	}
}

// startAWS has the pool chat follow f.
func startAWS(w *world, f *fakeServers, refresh time.Duration) {
	s := Spec{AWS: &AWS{Query: awsapi.Query{Group: "chat"}, Port: 3000, Refresh: refresh}}.sources()[0]
	made := w.newFeed("chat", s)
	w.Watcher.mu.Lock()
	defer w.Watcher.mu.Unlock()
	w.pools["chat"] = &poolLists{feeds: []*feed{made}}
	ctx, cancel := context.WithCancel(w.ctx)
	made.stop = cancel
	watch := newAWSWatch(made)
	watch.servers = f
	w.running.Go(func() {
		defer cancel()
		made.run(ctx, watch.refresh)
	})
}

func TestAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		f := &fakeServers{}
		f.set(2, 1)
		startAWS(w, f, 15*time.Second)
		sleep(time.Second)
		w.wantAddresses("chat", "i-1 10.0.0.1:3000", "i-2 10.0.0.2:3000")
		w.wantLog("")

		// One leaves, another comes.
		f.set(2, 3)
		sleep(15 * time.Second)
		w.wantAddresses("chat", "i-2 10.0.0.2:3000", "i-3 10.0.0.3:3000")
		w.wantLog("level=INFO msg=\"pool chat: auto-scaling group chat changed: 2 backends, 1 new, 1 gone\"\n")

		// A failure changes nothing, and is logged once.
		f.change(func() { f.err = errors.New("it rains") })
		sleep(time.Minute)
		w.wantAddresses("chat", "i-2 10.0.0.2:3000", "i-3 10.0.0.3:3000")
		w.wantLog("level=WARN msg=\"pool chat: auto-scaling group chat: it rains; going on with the last list, 2 backends\"\n")
		f.change(func() { f.err = nil })
		sleep(15 * time.Second)
		w.wantLog("level=INFO msg=\"pool chat: auto-scaling group chat is good again: 2 backends\"\n")

		// What is wrong with a part is logged once, too.
		f.change(func() { f.problem = "no public address of i-4" })
		sleep(time.Minute)
		w.wantLog("level=WARN msg=\"pool chat: auto-scaling group chat: no public address of i-4; going on with 2 backends\"\n")
		if s := w.States()[0]; s.LastError != "no public address of i-4" || time.Since(s.Answered) > 15*time.Second {
			t.Errorf("state %+v", s)
		}
	})
}

// Servers with one address, as an answer may have while one is replaced, are one backend.
func TestAWSAddressTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		f := &fakeServers{}
		f.set(1, 1, 2)
		f.servers[1].ID = "i-9"
		startAWS(w, f, time.Second)
		sleep(time.Second)
		w.wantAddresses("chat", "i-1 10.0.0.1:3000", "i-2 10.0.0.2:3000")
	})
}

// The pauses have jitter. They are short after a failure, and longer and longer if AWS
// says that there are too many calls.
func TestAWSPauses(t *testing.T) {
	const refresh = 15 * time.Second
	for _, tt := range []struct {
		err         error
		calls       int
		least, most time.Duration // of the last pause
	}{
		{nil, 2, refresh * 9 / 10, refresh},
		{nil, 9, refresh * 9 / 10, refresh},
		{errors.New("x"), 2, time.Second, 2 * time.Second},
		{errors.New("x"), 20, refresh / 2, refresh},
		{&awsapi.Error{Status: 503, Code: "RequestLimitExceeded"}, 2, refresh, 2 * refresh},
		{&awsapi.Error{Status: 400, Code: "ThrottlingException"}, 20, longestThrottled / 2, longestThrottled},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.Close()
			f := &fakeServers{err: tt.err}
			f.set(1)
			startAWS(w, f, refresh)
			var asked []time.Time
			for len(asked) < tt.calls {
				sleep(time.Second / 10)
				f.change(func() { asked = slices.Clone(f.asked) })
			}
			if pause := asked[tt.calls-1].Sub(asked[tt.calls-2]); pause < tt.least || pause > tt.most {
				t.Errorf("%v: the pause before call %d is %v, want %v to %v", tt.err, tt.calls, pause, tt.least, tt.most)
			}
		})
	}
}

// A change of refresh or endpoint keeps the last list; another group doesn't.
func TestAWSContinues(t *testing.T) {
	source := func(group, endpoint string, refresh time.Duration) source {
		return Spec{AWS: &AWS{Query: awsapi.Query{Group: group, Endpoint: endpoint}, Port: 1, Refresh: refresh}}.sources()[0]
	}
	is := source("a", "", 0)
	if is.aws.Refresh != defaultAWSRefresh || !source("a", "http://x", time.Minute).continues(is) || source("b", "", 0).continues(is) {
		t.Error("the wrong lists continue")
	}
	if dns := aSpec("a.test").sources()[0]; dns.continues(is) || is.continues(dns) {
		t.Error("DNS continues AWS")
	}
}
