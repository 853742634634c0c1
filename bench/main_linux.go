// OpenSSL 3.0, which nginx and HAProxy use here, knows no X25519MLKEM768. Clients that
// don't offer it make all balancers agree on keys in the same way.
//
//go:debug tlsmlkem=0

// Command bench compares holdfast with nginx and HAProxy. It runs the same workloads
// with each and writes the results to docs/performance.md. "make bench" runs it.
package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/bench/table"
)

type settings struct {
	holdfast string
	out      string
	rounds   int
	sessions int
	seconds  time.Duration
	only     []string
	names    []string

	pem   string         // a file: the certificate of the balancers, and its key
	roots *x509.CertPool // verifies it
}

func main() {
	var s settings
	var only, names string
	flag.StringVar(&s.holdfast, "holdfast", "bin/holdfast", "the binary to measure")
	flag.StringVar(&s.out, "out", "docs/performance.md", "Markdown file to write the table into; - prints it")
	flag.IntVar(&s.rounds, "rounds", 3, "number of rounds; the results are medians over them")
	flag.IntVar(&s.sessions, "sessions", 5000, "number of sessions of the idle workload")
	flag.DurationVar(&s.seconds, "duration", 4*time.Second, "duration of each workload")
	flag.StringVar(&only, "only", "", "workloads, comma separated: idle,rate,large,churn,capacity,tls-idle,tls-rate,tls-large,tls-full,tls-resumed (default all)")
	flag.StringVar(&names, "names", "", "balancers, comma separated (default all)")
	flag.Parse()
	s.only, s.names = split(only), split(names)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

func (s *settings) run(ctx context.Context) error {
	var works []workload
	for _, w := range workloads() {
		if len(s.only) == 0 || slices.Contains(s.only, w.name) {
			works = append(works, w)
		}
	}
	var balancers []target
	for _, t := range targets(s.holdfast) {
		if len(s.names) == 0 || slices.Contains(s.names, t.name) {
			balancers = append(balancers, t)
		}
	}
	if s.rounds < 1 || len(works) == 0 || len(balancers) == 0 {
		return fmt.Errorf("nothing to measure: check -rounds, -only and -names")
	}
	// Each session takes two descriptors of a balancer.
	if limit := (descriptors() - 400) / 2; s.sessions > limit {
		return fmt.Errorf("-sessions %d: RLIMIT_NOFILE allows only %d; raise it with ulimit -n, or use fewer sessions", s.sessions, limit)
	}
	raiseDescriptors()
	load := loadAverage()
	var err error
	if s.pem, s.roots, err = makeCertificate(); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(s.pem))
	var backends []*process
	for range 2 {
		b, err := startBackend(s.holdfast)
		if err != nil {
			return err
		}
		defer b.end()
		backends = append(backends, b)
	}
	res := results{figures: map[cell][]figures{}, failed: map[cell]bool{}}
	for round := range s.rounds {
		for _, w := range works {
			for i := range balancers {
				t := balancers[(i+round)%len(balancers)] // a different one is first in each round
				fmt.Fprintf(os.Stderr, "round %d of %d: %s, %s\n", round+1, s.rounds, w.name, t.name)
				sub, f, err := s.measure(ctx, w, t, backends)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, t.name, err)
				}
				res.add(cell{w.name, t.name}, round, sub, f)
			}
		}
	}
	text := s.describe(balancers, load) + "\n" + res.table(works, balancers)
	if s.out == "-" {
		_, err := fmt.Print(text)
		return err
	}
	return table.Replace(s.out, text)
}

// cell is a combination of a workload and a target.
type cell struct{ workload, target string }

type results struct {
	figures  map[cell][]figures // by round
	failed   map[cell]bool
	failures []string
}

func (r *results) add(c cell, round int, sub *subject, f figures) {
	r.figures[c] = append(r.figures[c], f)
	if sub.failures > 0 {
		r.failed[c] = true
		r.failures = append(r.failures, fmt.Sprintf("- %s, %s, round %d: %d failures, first %s", c.workload, c.target, round+1, sub.failures, sub.first))
	}
}

func (r *results) table(works []workload, balancers []target) string {
	var columns []string
	var rows []table.Row
	for _, t := range balancers {
		columns = append(columns, t.name)
	}
	for _, w := range works {
		for _, m := range w.metrics {
			line := table.Row{Label: m.label, Digits: m.digits}
			for _, t := range balancers {
				c := cell{w.name, t.name}
				var v []float64
				for _, f := range r.figures[c] {
					v = append(v, f[m.key])
				}
				line.Values, line.Failed = append(line.Values, v), append(line.Failed, r.failed[c])
			}
			rows = append(rows, line)
		}
	}
	text := table.Format(columns, rows)
	if len(r.failures) > 0 {
		text += "\n!: there were failures, so the results aren't valid:\n\n" + strings.Join(r.failures, "\n") + "\n"
	}
	return text
}

// measure runs a workload with a new process of the target.
func (s *settings) measure(ctx context.Context, w workload, t target, backends []*process) (*subject, figures, error) {
	scheme, pem := "ws", ""
	if w.tls {
		scheme, pem = "wss", s.pem
	}
	p, err := t.start(backends, pem)
	if err != nil {
		return nil, nil, err
	}
	defer p.end()
	time.Sleep(300 * time.Millisecond) // workers start after the port is open
	sub := &subject{pids: family(p.Process.Pid), url: scheme + "://" + p.address + "/echo", sessions: s.sessions, seconds: s.seconds}
	if w.tls {
		sub.roots = s.roots
	}
	for _, b := range backends {
		sub.direct = append(sub.direct, "ws://"+b.address+"/echo")
	}
	f, err := w.run(ctx, sub)
	return sub, f, err
}

func (s *settings) describe(balancers []target, load string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Written by `make bench` (`go run ./bench -rounds %d -sessions %d -duration %s`) on %s: medians of %d rounds, a fresh process for each workload and round, two `holdfast bench-server` behind each balancer, everything on one machine over loopback.\n\n",
		s.rounds, s.sessions, s.seconds, time.Now().UTC().Format("2006-01-02"), s.rounds)
	fmt.Fprintf(&b, "- machine: %s, %d CPUs, Linux %s, load average before: %s\n", cpuModel(), runtime.NumCPU(), kernel(), load)
	for _, t := range balancers {
		if t.version != nil {
			out, _ := exec.Command(t.version[0], t.version[1:]...).CombinedOutput()
			first, _, _ := strings.Cut(string(out), "\n")
			fmt.Fprintf(&b, "- %s: %s\n", t.name, first)
		}
	}
	b.WriteString("- `-64k`: the same with buffers of 64 KiB\n")
	b.WriteString("- wss: TLS to the clients only, TLS 1.3, X25519, a certificate with ECDSA P-256; the backends speak ws\n")
	return b.String()
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func raiseDescriptors() {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &l) // Go starts child processes with the original limit
	}
}
