package layer4

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestTwoTiers runs examples/two-tier under load: clients of many addresses, which the
// servers must know. One balancer of the second tier is killed and started again, the
// other one is stopped. Whoever loses the connection gets another one at once.
func TestTwoTiers(t *testing.T) {
	const clients = 24
	servers := [2]string{startNamer(t), startNamer(t)}
	ports := []string{":9900", ":0", ":9901", ":0", ":9902", ":0", "127.0.0.1:3001", servers[0], "127.0.0.1:3002", servers[1],
		"timeouts: {shutdown: 20s}", "timeouts: {shutdown: 2s}", "interval: 1s, timeout: 500ms", "interval: 200ms, timeout: 190ms, fail_timeout: 1s"}
	example := func(name string, more ...string) string {
		text, err := os.ReadFile(kit.ModulePath("examples/two-tier/" + name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(append(more, ports...)...).Replace(string(text))
	}
	a, b := testkit.FreeAddress(t), testkit.FreeAddress(t)
	l7a := kit.StartBalancer(t, example("l7-a.yaml", "127.0.0.1:8081", a))
	l7b := kit.StartBalancer(t, example("l7-b.yaml", "127.0.0.1:8082", b))
	front := kit.StartBalancer(t, example("front.yaml", ":8080", ":0", "127.0.0.1:8081", a, "127.0.0.1:8082", b))

	ctx, stop := context.WithCancel(t.Context())
	all := make([]*roamer, clients)
	var running sync.WaitGroup
	for i := range all {
		all[i] = &roamer{ip: fmt.Sprintf("127.0.1.%d", i+1), to: front.Address}
		running.Go(func() { all[i].run(ctx) })
	}
	defer running.Wait()
	defer stop()
	open := func(b *kit.Balancer) int { return int(b.Metrics(t)["holdfast_sessions_active"]) }
	spread := func(at ...*kit.Balancer) {
		t.Helper()
		testkit.Eventually(t, "all sessions are open", func() bool {
			n := 0
			for _, b := range at {
				n += open(b)
			}
			return n == clients && open(front) == clients
		})
	}
	spread(l7a, l7b)
	if open(l7a) == 0 || open(l7b) == 0 {
		t.Errorf("%d sessions of %d are at l7-a: one balancer has none", open(l7a), clients)
	}

	l7a.Kill(t)
	spread(l7b)
	l7a = kit.StartBalancer(t, example("l7-a.yaml", "127.0.0.1:8081", a))
	front.AwaitState(t, "balancers", "l7-a", "up")

	l7b.Signal(t, syscall.SIGTERM)
	if status := l7b.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("l7-b ended with status %d", status)
	}
	spread(l7a)
	stop()
	running.Wait()
	for _, r := range all {
		if len(r.wrong) > 0 || r.away != 1 {
			t.Errorf("the client %s: told %d times that its balancer goes away, and %q", r.ip, r.away, r.wrong)
		}
	}
	front.Stop(t)
	l7a.Stop(t)
}

// startNamer starts a server that tells each client its address, and then echoes.
func startNamer(t *testing.T) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for text := []byte(r.Header.Get("X-Forwarded-For")); err == nil; _, text, err = ws.Read(context.Background()) {
			if ws.Write(context.Background(), websocket.MessageText, text) != nil {
				return
			}
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(ln) })
	t.Cleanup(func() { server.Close(); serving.Wait() })
	return ln.Addr().String()
}

// roamer is a client that has a session at all times. It is used by run alone, until that
// has returned.
type roamer struct {
	ip, to string
	away   int // sessions that were closed with 1001
	wrong  []string
}

func (r *roamer) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.session(ctx)
		switch {
		case ctx.Err() != nil:
		case websocket.CloseStatus(err) == websocket.StatusGoingAway:
			r.away++
		case websocket.CloseStatus(err) != -1:
			r.wrong = append(r.wrong, err.Error())
		case !errors.Is(err, errDial):
			// The balancer was killed.
		default:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

var errDial = errors.New("no session")

// session returns when the session has ended.
func (r *roamer) session(ctx context.Context) error {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(r.ip)}}
	transport := &http.Transport{DialContext: from.DialContext}
	defer transport.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, "ws://"+r.to+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return errors.Join(errDial, err)
	}
	defer ws.CloseNow()
	want := r.ip
	for i := 0; ; i++ {
		_, text, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if string(text) != want {
			r.wrong = append(r.wrong, fmt.Sprintf("got %q, want %q", text, want))
		}
		time.Sleep(5 * time.Millisecond)
		want = fmt.Sprint("message ", i)
		if err := ws.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			_, _, read := ws.Read(ctx)
			return errors.Join(read, err)
		}
	}
}
