package discovery

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// server is a real DNS server on loopback, on one port over UDP and TCP.
type server struct {
	addr string
	mu   sync.Mutex
	zone map[string][]string // records by name, "ws.internal."
	more bool                // the targets of SRV records come with their addresses
	tcp  int                 // questions over TCP
	at   []time.Time
	stop func()
}

func startServer(t *testing.T, addr string) *server {
	t.Helper()
	s := &server{zone: map[string][]string{}, more: true}
	udp, tcp := listen(t, addr)
	s.addr = udp.LocalAddr().String()
	var stops []func() error
	for _, d := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		started := make(chan struct{})
		d.Handler, d.NotifyStartedFunc = s, func() { close(started) }
		go d.ActivateAndServe()
		<-started
		stops = append(stops, d.Shutdown)
	}
	s.stop = sync.OnceFunc(func() {
		for _, stop := range stops {
			stop()
		}
	})
	t.Cleanup(s.stop)
	return s
}

// listen opens one port for both protocols; a port that is free for UDP may be taken
// for TCP.
func listen(t *testing.T, addr string) (net.PacketConn, net.Listener) {
	t.Helper()
	for tries := 1; ; tries++ {
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
		if tries == 20 {
			t.Fatal(err)
		}
	}
}

func (s *server) set(name string, texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[name] = texts
}

func (s *server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	m.Answer = s.find(q.Question[0].Name, q.Question[0].Qtype)
	for _, rr := range m.Answer {
		if srv, ok := rr.(*dns.SRV); ok && s.more {
			m.Extra = append(m.Extra, s.find(dns.CanonicalName(srv.Target), dns.TypeA)...)
		}
	}
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		s.tcp++
	} else if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, false)
		m.Truncate(int(opt.UDPSize()))
	} else {
		m.Truncate(dns.MinMsgSize)
	}
	w.WriteMsg(m)
}

func (s *server) find(name string, t uint16) (found []dns.RR) {
	for _, text := range s.zone[name] {
		rr, err := dns.NewRR(name + " " + text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == t {
			found = append(found, rr)
		}
	}
	return found
}

func (s *server) overTCP() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tcp
}

func (s *server) asked() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at)
}

// live makes a Watcher with real sockets that sends changed pools to a channel.
func live(t *testing.T) (*Watcher, *logLines, <-chan string) {
	changed := make(chan string, 100)
	log := &logLines{}
	w := New(Options{Log: log.logger(), OnChange: func(pools []string) {
		for _, pool := range pools {
			changed <- pool
		}
	}})
	t.Cleanup(w.Close)
	return w, log, changed
}

func awaitChange(t *testing.T, changed <-chan string) {
	t.Helper()
	testkit.Receive(t, "Changed is called", changed)
}

func TestRealServerSRV(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	for i := range 4 {
		s.set(fmt.Sprintf("ws%d.internal.", i+1), fmt.Sprintf("60 IN A 10.0.0.%d", i+1))
	}
	s.set("_ws._tcp.chat.internal.", "1 IN SRV 10 1 3000 ws1.internal.", "1 IN SRV 10 3 3000 WS2.internal.", "1 IN SRV 20 9 3000 spare.internal.")
	w, log, changed := live(t)
	spec := Spec{DNS: &DNS{Name: "_ws._tcp.chat.internal.", Type: SRV, Refresh: time.Minute, Server: hostport.MustParse(s.addr)}}
	w.Apply(map[string]Spec{"chat": spec}, 10*time.Second)
	if got := short(w.Members("chat")); !slices.Equal(got, []string{"ws1.internal:3000", "ws2.internal:3000 3"}) {
		t.Fatalf("members %q", got)
	}

	// The TTL of a second is followed, not the refresh of a minute.
	s.set("_ws._tcp.chat.internal.", "1 IN SRV 10 1 3000 ws1.internal.", "1 IN SRV 10 1 3000 ws3.internal.")
	awaitChange(t, changed)
	log.Find(t, "line about the change", 0, func(string) bool { return true })
	if got := short(w.Members("chat")); !slices.Equal(got, []string{"ws1.internal:3000", "ws3.internal:3000"}) {
		t.Fatalf("members %q", got)
	}
	at := s.asked()
	for i := range at[1:] {
		if pause := at[i+1].Sub(at[i]); pause < 990*time.Millisecond {
			t.Errorf("asked again after %v with a TTL of 1s", pause)
		}
	}

	// While the server is down the list stays. Once it is up again the change is
	// seen; it is the second.
	s.stop()
	log.take()
	log.Find(t, "problem though the server is down", 0, func(string) bool { return true })
	if got := short(w.Members("chat")); !slices.Equal(got, []string{"ws1.internal:3000", "ws3.internal:3000"}) {
		t.Errorf("members %q with the server down", got)
	}
	if got := log.take(); !strings.Contains(got, s.addr+" does not answer: ") || !strings.Contains(got, "; going on with the last list, 2 backends") {
		t.Errorf("logged %s", got)
	}
	again := startServer(t, s.addr)
	again.set("ws4.internal.", "60 IN A 10.0.0.4")
	again.set("_ws._tcp.chat.internal.", "1 IN SRV 10 1 3000 ws4.internal.")
	awaitChange(t, changed)
	if got := short(w.Members("chat")); !slices.Equal(got, []string{"ws4.internal:3000"}) {
		t.Errorf("members %q", got)
	}
	if len(changed) > 0 {
		t.Error("Changed was called more than once for a change")
	}
}

func TestRealServerTruncates(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	s.more = false
	var texts []string
	for i := range 100 {
		host := fmt.Sprintf("backend-%03d.with-a-long-name.internal.", i)
		texts = append(texts, "60 IN SRV 0 1 3000 "+host)
		s.set(host, fmt.Sprintf("60 IN A 10.0.0.%d", i+1))
	}
	s.set("many.internal.", texts...)
	s.set("few.internal.", "60 IN A 10.0.0.1", "60 IN AAAA 2001:db8::1")
	w, _, _ := live(t)
	w.Apply(map[string]Spec{"few": {DNS: &DNS{Name: "few.internal", Type: A, Port: 3000, Family: Both, Server: hostport.MustParse(s.addr)}}}, 10*time.Second)
	if got := short(w.Members("few")); !slices.Equal(got, []string{"10.0.0.1:3000", "[2001:db8::1]:3000"}) {
		t.Errorf("members %q", got)
	}
	if s.overTCP() != 0 {
		t.Error("asked over TCP without need")
	}
	w.Apply(map[string]Spec{"many": {DNS: &DNS{Name: "many.internal.", Type: SRV, Server: hostport.MustParse(s.addr)}}}, 10*time.Second)
	if got := w.Members("many"); len(got) != 100 || s.overTCP() != 1 {
		t.Errorf("%d members, %d questions over TCP; want 100 and 1", len(got), s.overTCP())
	} else if got[41].Address != "10.0.0.42:3000" {
		t.Errorf("%+v has another's address", got[41])
	}
}

// Of the servers in resolv.conf, the first refuses, the second never answers, and the
// third is good.
func TestRealServersInTurn(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := closed.LocalAddr().String()
	closed.Close()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := startServer(t, "127.0.0.1:0")
	s.set("ws.internal.", "60 IN SRV 0 1 3000 ws1.internal.")
	r := resolver{exchange: overNetwork}
	servers := []string{refuses, silent.LocalAddr().String(), s.addr}
	start := time.Now()
	if m, err := r.query(t.Context(), servers, "ws.internal.", dns.TypeSRV); err != nil || len(m.Answer) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	if took := time.Since(start); took < queryTimeout {
		t.Errorf("took %v, want at least the timeout of the silent server, %v", took, queryTimeout)
	}

	// A query under way ends with its context, not with its timeout.
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := overNetwork(ctx, "udp", servers[1], new(dns.Msg).SetQuestion("ws.internal.", dns.TypeSRV)); err == nil || ctx.Err() == nil {
		t.Errorf("error %v, and the context has not ended", err)
	}
}

// Broken packets are a failure of the server.
func TestRealServerSendsNonsense(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			conn.WriteTo(append(b[:n:n][:n-4], 0xff, 0xff, 0xff), from)
		}
	}()
	defer func() { conn.Close(); <-done }()
	file := filepath.Join(t.TempDir(), "none")
	log := &logLines{}
	w := newWatcher(Options{Log: log.logger()}, environment{exchange: overNetwork, routed: hasRoute, resolvConf: file, poll: time.Second})
	defer w.Close()
	w.Apply(map[string]Spec{"chat": {DNS: &DNS{Name: "ws.internal.", Type: SRV, Server: hostport.MustParse(conn.LocalAddr().String())}}}, 10*time.Second)
	if s := w.States()[0]; !strings.Contains(s.LastError, "sent a broken answer") {
		t.Errorf("problem %q", s.LastError)
	}
}
