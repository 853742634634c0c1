package program

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/stage/listener"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

func base() *config.Config {
	c := config.Defaults()
	c.Limits.Exempt = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	return &c
}

func owner(name string) translate.Owner {
	return translate.Owner{Object: &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}, Rule: 1}
}

func pool(name string, change func(*config.Pool)) translate.Pool {
	p := config.NewPool(name)
	p.Feed = "shop/" + name + ":80"
	if change != nil {
		change(&p)
	}
	return translate.Pool{Pool: p, Owner: owner(name)}
}

func on(name, address string) translate.Listener {
	return translate.Listener{Listener: config.Listener{Name: name, Address: hostport.MustParse(address)}, Owner: owner(name)}
}

func path(on, host, pool string) translate.Route {
	h, err := pattern.ParseHost(host)
	if err != nil {
		panic(err)
	}
	return translate.Route{Route: config.Route{Match: config.Match{Listener: on, Host: h}, Pool: pool}, Owner: owner(host)}
}

func build(t testing.TB, results ...*translate.Result) *Plan {
	t.Helper()
	plan, err := Build(&cluster.Snapshot{}, options(results...))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func options(results ...*translate.Result) Options {
	o := Options{Base: base()}
	for _, r := range results {
		o.Translators = append(o.Translators, func(*cluster.Snapshot) *translate.Result { return r })
	}
	return o
}

// shown is a configuration in short, and the events.
func shown(p *Plan) string {
	var all []string
	for _, l := range p.Config.Listeners {
		all = append(all, "on "+l.Name)
	}
	for _, r := range p.Config.Routes {
		to := r.Pool
		if r.Respond != nil {
			to = fmt.Sprint(r.Respond.Status)
		}
		for _, part := range r.Split {
			to += fmt.Sprintf("%d:%s ", part.Weight, part.Pool)
			if part.Respond != nil {
				to += fmt.Sprint(part.Respond.Status)
			}
		}
		all = append(all, fmt.Sprintf("%s %s > %s", r.Match.Listener, r.Match.Host, to))
	}
	for _, q := range p.Config.Pools {
		all = append(all, "pool "+q.Name)
	}
	for _, e := range p.Events {
		all = append(all, e.Reason+" "+e.Object.GetName())
	}
	return strings.Join(all, "\n")
}

func TestNothing(t *testing.T) {
	plan := build(t)
	if got, want := shown(plan), "on nothing\n  > 404"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if plan = build(t, &translate.Result{Listeners: []translate.Listener{on("web", ":80")}}, nil); shown(plan) != "on web\n  > 404" {
		t.Errorf("got\n%s", shown(plan))
	}
}

func TestOnePoolGetsOnlyItsRoutes(t *testing.T) {
	plan := build(t, &translate.Result{Listeners: []translate.Listener{on("web", ":80")}, Pools: []translate.Pool{pool("chat", nil)}})
	if got, want := shown(plan), "on web\n  > 404\npool chat"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMerge(t *testing.T) {
	o := options(
		&translate.Result{Listeners: []translate.Listener{on("web", ":80")}, Routes: []translate.Route{path("web", "a.example", "chat")}, Pools: []translate.Pool{pool("chat", nil)},
			Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		&translate.Result{Listeners: []translate.Listener{on("gate", ":81")}, Routes: []translate.Route{path("gate", "b.example", "chat")}, Pools: []translate.Pool{pool("chat", nil), pool("api", nil)}},
	)
	o.Policies = func(_ *cluster.Snapshot, results []*translate.Result) *translate.Result {
		results[1].Pools[1].Balance = "random"
		return &translate.Result{Events: []translate.Event{{Object: owner("policy").Object, Reason: "Applied"}}}
	}
	o.Proxies = []config.Peer{{Network: netip.MustParsePrefix("10.1.0.0/16")}}
	plan, err := Build(&cluster.Snapshot{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shown(plan), "on web\non gate\nweb a.example > chat\ngate b.example > chat\n  > 404\npool chat\npool api\nApplied policy"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c := plan.Config
	if fmt.Sprint(c.Limits.Exempt) != "[10.0.0.0/8 192.0.2.0/24]" || c.Pools[1].Balance != "random" || fmt.Sprint(plan.Feeds) != "[shop/api:80 shop/chat:80]" {
		t.Errorf("exempt %v, balance %s, feeds %v", c.Limits.Exempt, c.Pools[1].Balance, plan.Feeds)
	}
	for _, l := range c.Listeners {
		if l.ProxyProtocol == nil || len(l.ProxyProtocol.Trust) != 1 {
			t.Errorf("the listener %s expects no PROXY protocol", l.Name)
		}
	}
	if !reflect.DeepEqual(o.Base, base()) {
		t.Error("Build has changed the base")
	}
}

func TestFaults(t *testing.T) {
	web := []translate.Listener{on("web", ":80")}
	good := path("web", "good.example", "chat")
	for _, c := range []struct {
		name   string
		result translate.Result
		want   string
	}{
		{"a route that can't be used answers 500, since it may guard something", translate.Result{Listeners: web, Pools: []translate.Pool{pool("chat", nil)},
			Routes: []translate.Route{redirect("bad.example", "ftp://"), good}},
			"on web\nweb bad.example > 500\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration bad.example"},
		{"one whose match is wrong is removed", translate.Result{Listeners: web, Pools: []translate.Pool{pool("chat", nil)},
			Routes: []translate.Route{{Route: config.Route{Match: config.Match{Listener: "web", Method: []string{"G E T"}}, Pool: "chat"}, Owner: owner("bad")}, good}},
			"on web\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration bad"},
		{"a pool", translate.Result{Listeners: web, Pools: []translate.Pool{pool("slow", func(p *config.Pool) { p.Balance = "magic" }), pool("chat", nil)},
			Routes: []translate.Route{path("web", "bad.example", "slow"), good}},
			"on web\nweb bad.example > 500\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration slow"},
		{"a pool of a split keeps its share", translate.Result{Listeners: web, Pools: []translate.Pool{pool("slow", func(p *config.Pool) { p.Balance = "magic" }), pool("chat", nil)},
			Routes: []translate.Route{split("bad.example", "chat", "slow"), good}},
			"on web\nweb bad.example > 1:chat 2: 500\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration slow"},
		{"a pool that isn't there", translate.Result{Listeners: web, Pools: []translate.Pool{pool("chat", nil)},
			Routes: []translate.Route{path("web", "bad.example", "slow"), good}},
			"on web\nweb bad.example > 500\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration bad.example"},
		{"a pool whose name is taken", translate.Result{Listeners: web, Pools: []translate.Pool{pool("chat", nil), pool("chat", func(p *config.Pool) { p.Balance = "random" })},
			Routes: []translate.Route{good}},
			"on web\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration chat"},
		{"a listener and its routes", translate.Result{Listeners: append([]translate.Listener{on("web", ":80")}, on("again", ":80")), Pools: []translate.Pool{pool("chat", nil)},
			Routes: []translate.Route{path("again", "bad.example", "chat"), good}},
			"on web\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration again"},
		{"the pool of a listener without requests", translate.Result{
			Listeners: append([]translate.Listener{on("web", ":80")}, translate.Listener{Listener: config.Listener{Name: "tcp", Mode: "tcp", Pool: "slow", Address: hostport.MustParse(":81")}, Owner: owner("tcp")}),
			Pools:     []translate.Pool{pool("slow", func(p *config.Pool) { p.Balance = "magic" }), pool("chat", nil)}, Routes: []translate.Route{good}},
			"on web\nweb good.example > chat\n  > 404\npool chat\nInvalidConfiguration slow\nInvalidConfiguration tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shown(build(t, &c.result)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func redirect(host, to string) translate.Route {
	r := path("web", host, "")
	r.Redirect = &config.Redirect{To: to, Status: 302}
	return r
}

func split(host string, pools ...string) translate.Route {
	r := path("web", host, "")
	for i, pool := range pools {
		r.Split = append(r.Split, config.SplitPart{Pool: pool, Weight: i + 1})
	}
	return r
}

func TestBaseIsWrong(t *testing.T) {
	o := options(&translate.Result{Listeners: []translate.Listener{on("web", ":80")}})
	o.Base.Log.Level = "loud"
	if plan, err := Build(&cluster.Snapshot{}, o); err == nil || !strings.Contains(err.Error(), "log.level") {
		t.Errorf("Build = %v, %v", plan, err)
	}
}

func TestMistakeInTranslator(t *testing.T) {
	o := options()
	o.Translators = append(o.Translators, func(s *cluster.Snapshot) *translate.Result { panic("index out of range") })
	if _, err := Build(&cluster.Snapshot{}, o); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("Build returns %v", err)
	}
}

func TestWithout(t *testing.T) {
	result := func() *translate.Result {
		r := &translate.Result{Listeners: []translate.Listener{on("web", ":80"), on("tls", ":443")}, Pools: []translate.Pool{pool("chat", nil), pool("api", nil)},
			Routes: []translate.Route{path("web", "a.example", "chat"), path("tls", "b.example", "api")}}
		r.Listeners[1].TLS = &config.ListenerTLS{}
		r.Listeners[1].TLS.SetDefaults()
		for _, name := range []string{"one", "two"} {
			r.Listeners[1].TLS.Certificates = append(r.Listeners[1].TLS.Certificates, config.Certificate{Data: &config.PEM{Name: name, Cert: []byte(name)}})
		}
		return r
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"an address in use", fmt.Errorf("reload: %w", &listener.OpenError{Listener: "tls", Err: errors.New("address already in use")}),
			"on web\nweb a.example > chat\n  > 404\npool chat\npool api\nInvalidConfiguration tls"},
		{"a certificate", config.Errors{{Path: "listeners[1].tls.certificates[0].cert", Msg: "no certificate"}},
			"on web\non tls two\nweb a.example > chat\ntls b.example > api\n  > 404\npool chat\npool api\nInvalidConfiguration tls"},
		{"all certificates", config.Errors{{Path: "listeners[1].tls.certificates[0].cert", Msg: "no certificate"}, {Path: "listeners[1].tls.certificates[1].key", Msg: "no key"}},
			"on web\non tls two\nweb a.example > chat\ntls b.example > api\n  > 404\npool chat\npool api\nInvalidConfiguration tls"},
		{"an authority of backends", config.Errors{{Path: "pools.api.tls.ca", Msg: "no certificate"}},
			"on web\non tls one two\nweb a.example > chat\ntls b.example > 500\n  > 404\npool chat\nInvalidConfiguration api"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, ok := build(t, result()).Without(c.err)
			if !ok {
				t.Fatal("nothing is at fault")
			}
			got := shown(plan)
			for _, l := range plan.Config.Listeners {
				if l.TLS != nil {
					name := "on tls"
					for _, certificate := range l.TLS.Certificates {
						name += " " + certificate.Data.Name
					}
					got = strings.Replace(got, "on tls", name, 1)
				}
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	if _, ok := build(t, result()).Without(errors.New("no more descriptors")); ok {
		t.Error("something is at fault for an error that doesn't say what")
	}
}

// TestOthersAreServed: whatever some owners get wrong, the routes of the others stay as
// they are, in their order, and what is left is the same each time.
func TestOthersAreServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 30).Draw(t, "kinds")
		draw := func() *translate.Result {
			r := &translate.Result{Listeners: []translate.Listener{on("web", ":80")}}
			for i, kind := range kinds {
				host, name := fmt.Sprintf("h%d.example", i), fmt.Sprintf("p%d", i)
				r.Pools = append(r.Pools, pool(name, func(p *config.Pool) {
					if kind == 1 {
						p.Drain.Code = 1
					}
				}))
				one := path("web", host, name)
				switch kind {
				case 2:
					one.Match.Method = []string{"G E T"}
				case 3:
					one.Pool = "nowhere"
				case 4:
					one.Redirect = &config.Redirect{To: "https://example.com", Status: 302}
				case 5:
					one.Match.Listener = "nowhere"
				}
				r.Routes = append(r.Routes, one)
			}
			return r
		}
		plan, err := Build(&cluster.Snapshot{}, options(draw()))
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]string{}
		for _, r := range plan.Config.Routes {
			served[r.Match.Host.String()] = r.Pool
		}
		for i, kind := range kinds {
			if host, name := fmt.Sprintf("h%d.example", i), fmt.Sprintf("p%d", i); (served[host] == name) != (kind == 0) {
				t.Fatalf("%s (kind %d) leads to %q", host, kind, served[host])
			}
		}
		again, err := Build(&cluster.Snapshot{}, options(draw()))
		if err != nil || !reflect.DeepEqual(plan.Config, again.Config) || !reflect.DeepEqual(plan.Events, again.Events) {
			t.Fatalf("the same objects give another configuration: %v", err)
		}
	})
}

// TestMistakeOfOneTranslator: what it made last stands in, and the others go on.
func TestMistakeOfOneTranslator(t *testing.T) {
	broken, host := false, "a.example"
	o := options(&translate.Result{Listeners: []translate.Listener{on("web", ":80")}, Routes: []translate.Route{path("web", "old.example", "chat")}, Pools: []translate.Pool{pool("chat", nil)}})
	first := o.Translators[0]
	o.Translators[0] = func(s *cluster.Snapshot) *translate.Result {
		if broken {
			panic("index out of range")
		}
		return first(s)
	}
	o.Translators = append(o.Translators, func(*cluster.Snapshot) *translate.Result {
		return &translate.Result{Listeners: []translate.Listener{on("gate", ":81")}, Routes: []translate.Route{path("gate", host, "api")}, Pools: []translate.Pool{pool("api", nil)}}
	})
	var b Builder
	if _, err := b.Build(&cluster.Snapshot{}, o); err != nil {
		t.Fatal(err)
	}
	broken, host = true, "b.example"
	for range 2 {
		plan, err := b.Build(&cluster.Snapshot{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := shown(plan), "on web\non gate\nweb old.example > chat\ngate b.example > api\n  > 404\npool chat\npool api"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}
