package balancer

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/program"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Balancer with one listener and a list of backends.
type world struct {
	*Balancer
	t       *testing.T
	log     *testkit.Log
	members []discovery.Member
}

func newWorld(t *testing.T) *world {
	log := &testkit.Log{}
	w := &world{Balancer: New(app.Options{Version: "test", LogTo: log}, slog.New(slog.DiscardHandler)), t: t, log: log}
	t.Cleanup(func() {
		if a := w.App(); a != nil {
			a.Shutdown(t.Context())
		}
		if t.Failed() {
			t.Log(log)
		}
	})
	return w
}

// apply makes a plan with a listener on each address and a pool, and applies it.
func (w *world) apply(pool string, addresses ...string) (*program.Plan, error) {
	w.t.Helper()
	base := config.Defaults()
	owner := translate.Owner{Object: &networkingv1.Ingress{}}
	result := &translate.Result{}
	p := config.NewPool(pool)
	p.Feed = "shop/" + pool + ":80"
	result.Pools = []translate.Pool{{Pool: p, Owner: owner}}
	for i, address := range addresses {
		name := fmt.Sprint("web", i)
		l := translate.Listener{Listener: config.Listener{Name: name, Address: hostport.MustParse(address)}}
		if i > 0 {
			l.Owner = owner
		}
		result.Listeners = append(result.Listeners, l)
		result.Routes = append(result.Routes, translate.Route{Route: config.Route{Match: config.Match{Listener: name}, Pool: pool}, Owner: owner})
	}
	plan, err := program.Build(&cluster.Snapshot{}, program.Options{Base: &base, Translators: []func(*cluster.Snapshot) *translate.Result{
		func(*cluster.Snapshot) *translate.Result { return result }}})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Apply(plan, func(string) []discovery.Member { return w.members })
}

func (w *world) get() string {
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + w.App().Addresses()[0])
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return fmt.Sprint(answer.StatusCode, " ", string(body))
}

// backend answers with its name.
func backend(t *testing.T, name string) discovery.Member {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })}
	done := make(chan struct{})
	go func() { s.Serve(listener); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return discovery.Member{Name: name, Address: listener.Addr().String(), Weight: 1}
}

func TestApply(t *testing.T) {
	w := newWorld(t)
	if w.Loads() != nil {
		t.Error("there are loads before the first plan")
	}
	one, two := backend(t, "one"), backend(t, "two")
	w.members = []discovery.Member{one}
	if _, err := w.apply("chat", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	// The first request finds the backend: its list was there before the pool.
	if got := w.get(); got != "200 one" {
		t.Errorf("the first plan: %s", got)
	}
	generation := w.App().Status().Generation
	for range 1000 {
		if _, err := w.apply("chat", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.App().Status().Generation; got != generation {
		t.Errorf("1,000 equal plans made %d generations", got-generation)
	}
	w.members = []discovery.Member{two}
	if _, err := w.apply("chat", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the other backend is used", func() bool { return w.get() == "200 two" })
	w.members = nil
	if _, err := w.apply("chat", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "an empty list is believed", func() bool { return strings.HasPrefix(w.get(), "503") })
	if w.log.Contains(`"msg":"reloaded"`) {
		t.Error("other backends made a reload")
	}
	w.members = []discovery.Member{one}
	if _, err := w.apply("other", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if got := w.get(); got != "200 one" {
		t.Errorf("another pool: %s", got)
	}
	testkit.Eventually(t, "one reload", func() bool { return w.log.Count(`"msg":"reloaded"`) == 1 })
	if len(w.fed) != 1 || w.Loads()[0].Feed != "shop/other:80" {
		t.Errorf("lists that are kept: %v; loads: %v", w.fed, w.Loads())
	}
}

// TestAddressInUse: a listener of an object that can't be opened is left out, now and when
// it comes later; one that is nobody's is an error.
func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w := newWorld(t)
	w.members = []discovery.Member{backend(t, "one")}
	if _, err := w.apply("chat", taken.Addr().String()); err == nil || w.App() != nil {
		t.Fatalf("the start: %v", err)
	}
	for _, pool := range []string{"chat", "other"} { // at the start, and by a reload
		plan, err := w.apply(pool, "127.0.0.1:0", taken.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Config.Listeners) != 1 || len(plan.Events) != 1 || plan.Events[0].Reason != "InvalidConfiguration" {
			t.Errorf("%d listeners and %v", len(plan.Config.Listeners), plan.Events)
		}
		if got := w.get(); got != "200 one" {
			t.Errorf("the other listener answers %s", got)
		}
	}
	if _, err := w.apply("chat", taken.Addr().String()); err == nil {
		t.Error("there is no error")
	}
	if got := w.get(); got != "200 one" {
		t.Errorf("after a plan that can't be used: %s", got)
	}
}
