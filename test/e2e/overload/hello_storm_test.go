//go:build unix

package overload

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// helloRole is a process that sends many ClientHellos at once. It does no more of the
// handshakes, so that the processors are the balancer's.
const helloRole = "hellos"

// Arguments of that process.
const (
	helloAddressEnv = "HOLDFAST_E2E_HELLO_ADDRESS"
	hellosEnv       = "HOLDFAST_E2E_HELLOS"
)

// helloReport is a line on standard output for each storm.
type helloReport struct {
	Began, Ended time.Time // from the first hello to the last answer
	Answered     int       // with a ServerHello
	Error        string
}

// captured is a connection that keeps the first write, and fails it.
type captured struct {
	net.Conn
	hello []byte
}

func (c *captured) Write(p []byte) (int, error) {
	c.hello = append([]byte(nil), p...)
	return 0, io.ErrClosedPipe
}

func (*captured) SetWriteDeadline(time.Time) error { return nil }
func (*captured) Close() error                     { return nil }

// sendHellos has a storm for each line of standard input.
func sendHellos() int {
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 5) // as in storm
	n, err := strconv.Atoi(os.Getenv(hellosEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	hello := &captured{}
	// As browsers do, it offers X25519MLKEM768.
	tls.Client(hello, &tls.Config{InsecureSkipVerify: true}).Handshake()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		json.NewEncoder(os.Stdout).Encode(helloStorm(os.Getenv(helloAddressEnv), n, hello.hello))
	}
	return 0
}

func helloStorm(address string, n int, hello []byte) (r helloReport) {
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return helloReport{Error: err.Error()}
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(testkit.Patience))
		conns[i] = c
	}
	answers := make(chan error, n)
	r.Began = time.Now()
	for _, c := range conns {
		if _, err := c.Write(hello); err != nil {
			return helloReport{Error: err.Error()}
		}
	}
	for _, c := range conns {
		go func() {
			const handshake, serverHello = 22, 2 // RFC 8446 §5.1 and §4
			head := make([]byte, 6)
			_, err := io.ReadFull(c, head)
			if err == nil && (head[0] != handshake || head[5] != serverHello) {
				err = fmt.Errorf("the answer begins with %x", head)
			}
			answers <- err
		}()
	}
	for range conns {
		if err := <-answers; err != nil {
			r.Error = err.Error()
		} else {
			r.Answered++
		}
	}
	r.Ended = time.Now()
	return r
}

// echo is a message that came back.
type echo struct {
	sent time.Time
	took time.Duration
}

// talkers are sessions with TLS, each of which sends a message every 200 ms and gets it
// back.
type talkers struct {
	conns   []*wspeer.Conn
	running sync.WaitGroup
	over    chan struct{}
	mu      sync.Mutex // guards the following
	echoes  []echo
}

func startTalkers(t *testing.T, address string, n int, config *tls.Config) *talkers {
	t.Helper()
	conns := make([]*wspeer.Conn, n)
	k := &talkers{conns: conns, over: make(chan struct{})}
	t.Cleanup(func() { kit.CutAll(conns); k.running.Wait() })
	err := kit.InParallel(n, func(i int) error {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testkit.Patience}, "tcp", address, config)
		if err != nil {
			return err
		}
		conns[i] = wspeer.NewClient(conn)
		_, err = conns[i].Handshake(address, "/echo", nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const every = 200 * time.Millisecond
	for i, w := range conns {
		k.running.Go(func() {
			time.Sleep(rand.N(every))
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 0; ; n++ {
				text := fmt.Sprintf("message %d of %d", n, i)
				sent := time.Now()
				err := w.SendText(text)
				var got string
				if err == nil {
					got, err = w.Message()
				}
				if err != nil || got != text {
					t.Errorf("the echo of %q is %q, %v", text, got, err)
					return
				}
				k.mu.Lock()
				k.echoes = append(k.echoes, echo{sent, time.Since(sent)})
				k.mu.Unlock()
				select {
				case <-k.over:
					return
				case <-tick.C:
				}
			}
		})
	}
	return k
}

// during ends the sessions. It returns the times of the echoes that were on their way within the storms, in
// order; calm is for all others.
func (k *talkers) during(storms []helloReport) (storm, calm []time.Duration) {
	close(k.over)
	k.running.Wait()
	kit.CutAll(k.conns)
	for _, e := range k.echoes {
		within := slices.ContainsFunc(storms, func(r helloReport) bool {
			return e.sent.Before(r.Ended) && e.sent.Add(e.took).After(r.Began)
		})
		if within {
			storm = append(storm, e.took)
		} else {
			calm = append(calm, e.took)
		}
	}
	slices.Sort(storm)
	slices.Sort(calm)
	return storm, calm
}

// TestHelloStorm: hundreds of clients send their ClientHellos at once, while as many
// sessions talk. All are answered, and the sessions hardly notice.
func TestHelloStorm(t *testing.T) {
	n, storms := kit.UnlessBenching(100, 500), kit.UnlessBenching(1, 20)
	ca := testca.New(t)
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		cert, key := ca.Issue("127.0.0.1").Files()
		b := kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0", tls: {certificates: [{cert: %q, key: %q}]}}]
admin: {address: "127.0.0.1:0"}
engine: %s
limits: {max_handshakes: 4000, max_handshakes_per_address: 4000}
pools: {main: {backends: [{address: %q}]}}
`, cert, key, engine, kit.StartBackends(t, 1)[0].Address))
		k := startTalkers(t, b.Address, n, &tls.Config{RootCAs: ca.Pool()})
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), kit.RoleEnv+"="+helloRole, helloAddressEnv+"="+b.Address, fmt.Sprintf("%s=%d", hellosEnv, n))
		p := process.Start(t, "hellos", cmd)
		var all []helloReport
		var took time.Duration
		for range storms {
			time.Sleep(time.Duration(kit.UnlessBenching(10, 500)) * time.Millisecond)
			before := p.Stdout.Position()
			io.WriteString(p.Stdin, "\n")
			var r helloReport
			line := p.Stdout.Find(t, "report", before, func(string) bool { return true })
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.Error != "" || r.Answered != n {
				t.Fatalf("%d of %d hellos were answered: %s, %v", r.Answered, n, line, err)
			}
			all = append(all, r)
			took += r.Ended.Sub(r.Began)
		}
		storm, calm := k.during(all)
		if len(storm) > 0 && len(calm) > 0 {
			t.Logf("%d hellos are answered in %v; echoes of %d sessions when calm: p50 %v, p99 %v; in the storm: p50 %v, %d in all",
				n, took/time.Duration(storms), n, calm[len(calm)/2], calm[len(calm)*99/100], storm[len(storm)/2], len(storm))
			if engine != "portable" { // on goroutines, handshakes don't take turns
				kit.AtMost(t, fmt.Sprintf("p99 of the echoes of %d sessions, while %d ClientHellos are answered", n, n), storm[len(storm)*99/100], 50*time.Millisecond)
			}
		}
		// Each hello is a handshake that its client has given up.
		b.AwaitMetrics(t, "the results of all handshakes", func(m kit.Metrics) bool {
			return m[`holdfast_tls_handshakes_total{result="client_gone",resumed="false",version=""}`] == float64(n*storms)
		})
		b.Stop(t)
	})
}
