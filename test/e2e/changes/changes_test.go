//go:build unix

package changes

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// operator changes a balancer by its admin socket.
type operator struct {
	*kit.Balancer
	t   *testing.T
	api *client.Client
}

func operate(t *testing.T, b *kit.Balancer) *operator {
	t.Helper()
	c, err := client.New(client.Options{Address: b.Socket})
	if err != nil {
		t.Fatal(err)
	}
	return &operator{b, t, c}
}

// done expects success of a change.
func (o *operator) done(r api.BackendResult, err error) api.Backend {
	o.t.Helper()
	if err != nil || len(r.Warnings) > 0 {
		o.t.Fatalf("%v, warnings %q", err, r.Warnings)
	}
	return r.Backend
}

// want expects these changes, as FIELD BACKEND.
func (o *operator) want(want ...string) {
	o.t.Helper()
	list, err := o.api.Changes(context.Background())
	if err != nil {
		o.t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		got = append(got, c.Field+" "+c.Backend+strings.Repeat(" !", min(len(c.Problem), 1)))
	}
	if !reflect.DeepEqual(got, want) {
		o.t.Errorf("changes %q, want %q", got, want)
	}
}

// reloads expects a reload to succeed.
func (o *operator) reloads(yaml string) {
	o.t.Helper()
	o.WriteConfig(o.t, yaml)
	if r, err := o.api.Reload(context.Background()); err != nil || len(r.Warnings) > 0 {
		o.t.Fatalf("%v, warnings %q", err, r.Warnings)
	}
}

// spread opens sessions and returns how many of them each backend has.
func (o *operator) spread(n int) map[string]int {
	o.t.Helper()
	before := o.sessions()
	c := kit.StartCrowd(o.t, "newcomer", o.Address, n)
	got := o.sessions()
	c.FinishAll(o.t)
	for name, n := range before {
		got[name] -= n
	}
	return got
}

func (o *operator) sessions() map[string]int {
	o.t.Helper()
	s, err := o.api.Status(context.Background())
	if err != nil {
		o.t.Fatal(err)
	}
	got := map[string]int{}
	for _, b := range s.Pools[0].Backends {
		got[b.Name] += b.Sessions
	}
	return got
}

func num(n int) *int { return &n }

// TestChangesWhileSessionsGoOn changes all that can be changed while 1,000 sessions talk.
// None of them loses a message. What was changed outlives reloads and a restart.
func TestChangesWhileSessionsGoOn(t *testing.T) {
	t.Parallel()
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		ctx := context.Background()
		backends := kit.StartBackends(t, 3)
		address := kit.Addresses(backends)
		file := kit.Settings{Engine: engine, Backends: address[:2]}.YAML()
		both := kit.Settings{Engine: engine, Backends: address}.YAML()
		o := operate(t, kit.StartBalancer(t, file))
		crowd := kit.StartCrowd(t, "member", o.Address, 1000)
		o.AwaitSessions(t, 1000)
		// The sessions stay where they are from now on.
		at := o.sessions()

		if b := o.done(o.api.AddBackend(ctx, "main", api.NewBackend{Name: "c", Address: address[2]})); b.Source != "runtime" {
			t.Errorf("added: %+v", b)
		}
		o.reloads(file)
		if got := o.spread(20); got["c"] < 10 {
			t.Errorf("20 sessions are with %v, want most with c, which has none", got)
		}
		o.done(o.api.PatchBackend(ctx, "main", "c", api.BackendPatch{Weight: num(5)}))
		if b := o.done(o.api.PatchBackend(ctx, "main", "b", api.BackendPatch{Admin: "maint", Timeout: "2h"})); b.State != "maint" {
			t.Errorf("in maintenance: %+v", b)
		}
		o.want("admin b", "added c")
		o.done(o.api.PatchBackend(ctx, "main", "b", api.BackendPatch{Admin: "ready"}))
		o.done(o.api.RemoveBackend(ctx, "main", "b", "2h"))
		o.want("removed b", "added c")
		if got := o.spread(20); got["b"] != 0 || got["c"] < 10 {
			t.Errorf("20 sessions are with %v, want none with b, which is removed", got)
		}
		o.reloads(file)
		if _, err := o.api.Revert(ctx, "main", "b"); err != nil {
			t.Fatal(err)
		}
		o.want("added c")
		o.done(o.api.RemoveBackend(ctx, "main", "c", ""))
		o.want()
		if got := o.sessions(); got["a"] != at["a"] || got["b"] != at["b"] {
			t.Errorf("sessions are with %v, and were with %v", got, at)
		}
		crowd.FinishAll(t)
		reports := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		for _, m := range crowd.Members {
			kit.CheckComplete(f, m, reports[m.ID])
		}
		f.Sum("sessions")

		o.done(o.api.AddBackend(ctx, "main", api.NewBackend{Name: "c", Address: address[2], Weight: num(2)}))
		o.done(o.api.PatchBackend(ctx, "main", "a", api.BackendPatch{Admin: "maint"}))
		o.done(o.api.PatchBackend(ctx, "main", "b", api.BackendPatch{Weight: num(7)}))
		o.Stop(t)
		again := &kit.Balancer{File: o.File, Process: kit.StartHoldfast(t, "run", "-c", o.File)}
		again.AwaitReady(t)
		o = operate(t, again)
		o.want("admin a", "weight b", "added c")
		if got := o.spread(27); got["a"] != 0 || got["b"] != 21 || got["c"] != 6 {
			t.Errorf("after a restart, 27 sessions are with %v, want 21 with b and 6 with c", got)
		}
		// The file has c now, with another weight.
		o.reloads(both)
		o.want("admin a", "weight b", "weight c")
		gone, err := o.api.Revert(ctx, "", "")
		if err != nil || len(gone) != 3 {
			t.Errorf("%+v, %v", gone, err)
		}
		o.want()
		if got := o.spread(30); got["a"] != 10 || got["b"] != 10 || got["c"] != 10 {
			t.Errorf("after the revert, 30 sessions are with %v", got)
		}
		o.Stop(t)
	})
}
