//go:build unix

package overload

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Roles of this test binary: many clients that come at once, and a backend
// that keeps account of when they reach it.
const (
	stormRole = "storm"
	sheltered = "sheltered"

	stormEnv = "HOLDFAST_E2E_STORM" // a stormOrder
)

// stormOrder is what the clients do: each opens /storm?n=NUMBER, from an
// address of its own, and retries at once if it is refused. They start one
// after another, evenly within Over.
type stormOrder struct {
	Address string
	Clients int
	Over    time.Duration
}

// stormReport is a line on standard output, written when all clients have a
// session. Sessions end with the process, and the process ends when its
// standard input is closed.
type stormReport struct {
	Came    []time.Time // when each client first wrote its handshake
	Served  []time.Time // when it got its 101
	Refused int         // tries that got another answer
	Errors  []string
}

func storm() int {
	// The clients are to take no processor from what they meet, as if they were
	// on machines of their own.
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 5)
	var o stormOrder
	if err := json.Unmarshal([]byte(os.Getenv(stormEnv)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r := stormReport{Came: make([]time.Time, o.Clients), Served: make([]time.Time, o.Clients)}
	var mu sync.Mutex // guards r.Refused and r.Errors
	var running sync.WaitGroup
	sessions := make([]*wspeer.Conn, o.Clients)
	began := time.Now()
	for i := range o.Clients {
		time.Sleep(time.Until(began.Add(o.Over * time.Duration(i) / time.Duration(o.Clients))))
		running.Go(func() {
			r.Came[i] = time.Now()
			for {
				w, res, err := wspeer.Dial(o.Address, "/storm?n="+strconv.Itoa(i), fmt.Sprintf("X-Forwarded-For: 10.1.%d.%d", i>>8, i&255),
					"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Accept-Language: en-US,en;q=0.5",
					"Cookie: session="+strings.Repeat("s", 120))
				if err == nil {
					r.Served[i] = time.Now()
					sessions[i] = w
					return
				}
				mu.Lock()
				r.Refused++
				if res == nil {
					r.Errors = append(r.Errors, err.Error())
				}
				giveUp := len(r.Errors) > 10
				mu.Unlock()
				if giveUp {
					return
				}
			}
		})
	}
	running.Wait()
	json.NewEncoder(os.Stdout).Encode(r)
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// startStorm starts the clients.
func startStorm(t testing.TB, o stormOrder) *process.Process {
	t.Helper()
	order, _ := json.Marshal(o)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), kit.RoleEnv+"="+stormRole, stormEnv+"="+string(order))
	return process.Start(t, "storm", cmd)
}

// arrival is a handshake as the rate-limited backend saw it.
type arrival struct {
	Client int
	At     time.Time
}

// serveSheltered is a backend that accepts every handshake and notes when it
// came. It prints its address; GET /arrivals returns all of them.
func serveSheltered() int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(ln.Addr())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var mu sync.Mutex
	var arrivals []arrival
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		req, err := http.ReadRequest(in)
		at := time.Now()
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") == "" {
			mu.Lock()
			body, _ := json.Marshal(arrivals)
			mu.Unlock()
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
			return
		}
		n, _ := strconv.Atoi(req.URL.Query().Get("n"))
		mu.Lock()
		arrivals = append(arrivals, arrival{n, at})
		mu.Unlock()
		if _, err := wspeer.Accept(conn, in, req); err == nil {
			io.Copy(io.Discard, conn)
		}
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		go serve(conn)
	}
}

func startSheltered(t testing.TB) *kit.Backend {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), kit.RoleEnv+"="+sheltered)
	b := &kit.Backend{Process: process.Start(t, "sheltered backend", cmd)}
	b.Address = b.Stdout.Find(t, "address", 0, func(string) bool { return true })
	return b
}

// arrivals returns all handshakes so far, in order.
func arrivals(t testing.TB, b *kit.Backend) (all []arrival) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Patience}
	res, err := client.Get("http://" + b.Address + "/arrivals")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b arrival) int { return a.At.Compare(b.At) })
	return all
}

// stormYAML is a configuration with two pools: storm, whose backend has a rate
// limit, and calm.
func stormYAML(engine, storm, calm, admit string) string {
	return fmt.Sprintf(`
listeners: [{name: public, address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
forwarded: {trust: [127.0.0.0/8]}
pools:
  storm: {backends: [{name: s, address: %q}], admit: {%s}}
  calm: {backends: [{name: c, address: %q}]}
routes:
  - {match: {path: /storm}, pool: storm}
  - {match: {path: /echo}, pool: calm}
`, engine, storm, admit, calm)
}

// echoes measures the round-trip time of messages on a pool's sessions.
type echoes struct {
	t        testing.TB
	sessions []*wspeer.Conn

	mu    sync.Mutex // guards the following
	times []time.Duration
	over  chan struct{}
	all   sync.WaitGroup
}

func openEchoes(t testing.TB, address string) *echoes {
	t.Helper()
	e := &echoes{t: t}
	for range 4 {
		w, _, err := wspeer.Dial(address, "/echo")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		e.sessions = append(e.sessions, w)
	}
	return e
}

// begin starts sending on each session, every 5 ms.
func (e *echoes) begin() {
	e.times, e.over = nil, make(chan struct{})
	for _, w := range e.sessions {
		e.all.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-e.over:
					return
				case <-tick.C:
				}
				sent := time.Now()
				err := w.SendText("hello")
				if err == nil {
					_, err = w.Message()
				}
				if err != nil {
					e.t.Errorf("an echo failed: %v", err)
					return
				}
				e.mu.Lock()
				e.times = append(e.times, time.Since(sent))
				e.mu.Unlock()
			}
		})
	}
}

// end returns the median and the 99th percentile since begin.
func (e *echoes) end() (median, p99 time.Duration) {
	e.t.Helper()
	close(e.over)
	e.all.Wait()
	slices.Sort(e.times)
	if len(e.times) == 0 {
		e.t.Fatal("no echo came back")
	}
	return e.times[len(e.times)/2], e.times[len(e.times)*99/100]
}

// Within a second, clients without backoff come to a backend that is limited to
// 200 handshakes a second. All are served, no faster than the limit, and
// sessions of another pool are not disturbed. make bench-continuity has 5,000
// clients.
func TestStorm(t *testing.T) {
	const rate, burst = 200, 50
	clients := kit.UnlessBenching(1500, 5000)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		shelter, calm := startSheltered(t), kit.StartBackends(t, 1)[0]
		b := kit.StartBalancer(t, stormYAML(engine, shelter.Address, calm.Address, "rate: 200/s, burst: 50, queue: 5000, queue_timeout: 10m"))
		e := openEchoes(t, b.Address)
		calmTime := time.Duration(kit.UnlessBenching(1, 5)) * time.Second
		e.begin()
		time.Sleep(calmTime)
		calmMedian, calmP99 := e.end()

		e.begin()
		s := startStorm(t, stormOrder{Address: b.Address, Clients: clients, Over: time.Second})
		report := s.Stdout.Find(t, "report of the storm", 0, func(string) bool { return true })
		stormMedian, stormP99 := e.end()
		e.begin()
		time.Sleep(calmTime)
		_, afterwards := e.end() // other work on the machine comes and goes
		calmP99 = max(calmP99, afterwards)
		var r stormReport
		if err := json.Unmarshal([]byte(report), &r); err != nil {
			t.Fatal(err)
		}
		if r.Refused > 0 || len(r.Errors) > 0 {
			t.Errorf("%d tries were refused: %v", r.Refused, r.Errors)
		}
		arrivals := arrivals(t, shelter)
		if len(arrivals) != clients {
			t.Fatalf("the backend saw %d handshakes, want %d", len(arrivals), clients)
		}
		first, last, longest := r.Came[0], r.Came[0], time.Duration(0)
		for i := range clients {
			if r.Served[i].After(last) {
				last = r.Served[i]
			}
			longest = max(longest, r.Served[i].Sub(r.Came[i]))
		}
		t.Logf("echoes of the other pool: p50 %v, p99 %v when calm; p50 %v, p99 %v in the storm", calmMedian, calmP99, stormMedian, stormP99)
		// However slow the machine is, no client is served before there is a token.
		predicted := time.Duration(clients-burst) * time.Second / rate
		if all := last.Sub(first); all < predicted-50*time.Millisecond {
			t.Errorf("all were served in %v, by the rate it takes %v", all, predicted)
		}
		kit.AtMost(t, fmt.Sprintf("all served; by the rate %v", predicted), last.Sub(first), predicted+3*time.Second)
		kit.AtMost(t, "longest wait", longest, predicted+3*time.Second)
		at := make([]time.Time, clients)
		for i, a := range arrivals {
			at[i] = a.At
		}
		kit.AtMost(t, "handshakes in the busiest second", float64(kit.BusiestSecond(at)), rate+burst)
		// When a client sets out isn't when its handshake is there; the unit
		// tests know better. By chance it would be half a second.
		kit.AtMost(t, "median of how much later somebody came who was served before", outOfOrder(r, arrivals), 250*time.Millisecond)
		// Where several processes want each processor, waiting for one takes
		// some time slices.
		kit.AtMost(t, "p99 of the other pool's echoes in the storm", stormP99, max(calmP99*3/2, 20*time.Millisecond))

		m := b.Metrics(t)
		queued := m[`holdfast_admission_queued_total{pool="storm"}`]
		if queued == 0 || queued > float64(clients)-burst*4/5 {
			t.Errorf("%v handshakes have waited", queued)
		}
		kit.AtLeast(t, "handshakes that waited", queued, float64(clients-burst-rate))
		if got := m[`holdfast_admission_queue{pool="storm"}`]; got != 0 {
			t.Errorf("%v handshakes still wait", got)
		}
	})
}

// outOfOrder is how much later than a client another one came that was served
// before it, in the median of all clients.
func outOfOrder(r stormReport, arrivals []arrival) time.Duration {
	lags, latest := make([]time.Duration, len(arrivals)), r.Came[0]
	for i, a := range arrivals {
		if came := r.Came[a.Client]; came.After(latest) {
			latest = came
		}
		lags[i] = latest.Sub(r.Came[a.Client])
	}
	slices.Sort(lags)
	return lags[len(lags)/2]
}

// One address can't fill the queue: beyond its share it is refused, and others
// are served at once.
func TestStormOfOneAddress(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		shelter, calm := startSheltered(t), kit.StartBackends(t, 1)[0]
		b := kit.StartBalancer(t, stormYAML(engine, shelter.Address, calm.Address, "rate: 1/s, burst: 1, queue: 160, queue_timeout: 10m"))
		const crowd, part = 100, 20
		results := make(chan *http.Response, crowd)
		var crowding sync.WaitGroup
		t.Cleanup(crowding.Wait)
		var open sync.Map
		t.Cleanup(func() { open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true }) })
		for range crowd {
			crowding.Go(func() {
				conn, err := net.Dial("tcp", b.Address)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				open.Store(conn, nil)
				io.WriteString(conn, wspeer.RequestHead(b.Address, "/storm?n=1", wspeer.NewKey(), []string{"X-Forwarded-For: 192.0.2.1"}))
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					results <- res
					io.Copy(io.Discard, conn)
				}
			})
		}
		// All but its part, which is in the queue or got a token meanwhile.
		refused := 0
		for answered := 0; answered < crowd-part; answered++ {
			select {
			case res := <-results:
				if res.StatusCode == http.StatusServiceUnavailable {
					refused++
					if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
						t.Errorf("Retry-After: %q", res.Header.Get("Retry-After"))
					}
				}
			case <-time.After(testkit.Patience):
				t.Fatalf("%d were refused", refused)
			}
		}
		if queued := b.Pool(t, "storm").Queued; queued < 1 || queued > part {
			t.Errorf("/status shows %d in the queue, want %d at most", queued, part)
		}
		w, _, err := wspeer.Dial(b.Address, "/storm?n=2", "X-Forwarded-For: 192.0.2.2")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		// One or two of the others may have been before it; most still wait.
		if b.Pool(t, "storm").Queued == 0 {
			t.Error("another address waited for all that were in the queue before it")
		}
		m := b.Metrics(t)
		if got := m[`holdfast_handshakes_total{result="queue_address"}`]; int(got) < refused {
			t.Errorf("%v were counted of %d refused", got, refused)
		}
	})
}
