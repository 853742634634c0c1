package health

import (
	"context"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBook collects the messages of pool and health.
type logBook struct{ testkit.Log }

func (l *logBook) logger() *slog.Logger { return l.Logger("msg") }

// take returns the messages since the last call, one per line.
func (l *logBook) take() string {
	var lines []string
	for line := range strings.Lines(l.Take()) {
		line, err := strconv.Unquote(strings.TrimPrefix(strings.TrimSpace(line), "msg="))
		if err != nil {
			panic(err)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// registry makes a pool.Registry that is closed at the end of the test.
func registry(t testing.TB, log *slog.Logger) *pool.Registry {
	r := pool.New(pool.Options{Logger: log})
	t.Cleanup(r.Close)
	return r
}

// chat is a pool with checks and with backends at the addresses, which are also
// their names.
func chat(addresses ...string) []pool.Spec {
	s := pool.Spec{Name: "chat", Checked: true}
	for _, a := range addresses {
		s.Backends = append(s.Backends, pool.BackendSpec{Address: a})
	}
	return []pool.Spec{s}
}

// apply applies the addresses to registry and checker, and returns the backends.
func apply(r *pool.Registry, c *Checker, s Spec, addresses ...string) []*pool.Backend {
	pools, _ := r.Apply(chat(addresses...))
	c.Apply(pools, map[string]Spec{"chat": s})
	var backends []*pool.Backend
	for _, m := range pools["chat"].Members {
		backends = append(backends, m.Backend)
	}
	return backends
}

// kindOf is the kind of a check.
func kindOf(c CheckSpec) reflect.Type { return reflect.TypeOf(c) }

var kindHTTP, kindWebSocket, kindAgent = kindOf(HTTP{}), kindOf(WebSocket{}), kindOf(Agent{})

// fakeCheck returns what was set.
type fakeCheck func(ctx context.Context) result

func (f fakeCheck) run(ctx context.Context, _ hostport.Endpoint) result { return f(ctx) }
