package main

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench"
)

// figures are the results of one workload with one target in one round, by metric.
type figures map[string]float64

type workload struct {
	name    string
	tls     bool // clients speak TLS; the backends don't
	metrics []metric
	run     func(context.Context, *subject) (figures, error)
}

type metric struct {
	key, label string
	digits     int
}

// subject is a running target with the servers behind it.
type subject struct {
	pids     []int          // of the target
	roots    *x509.CertPool // for wss
	url      string
	direct   []string
	sessions int
	seconds  time.Duration
	failures int64
	first    string
}

// settle is the time to wait before memory is measured.
const settle = 2 * time.Second

func workloads() []workload {
	return []workload{
		{"idle", false, []metric{{"memory", "idle: memory a session, bytes", 0}, {"cpu", "idle: CPU, % of a core", 1}}, idle},
		{"rate", false, []metric{
			{"cpu", "1,000 echoes/s of 64 B, 100 sessions: CPU a message, µs", 1},
			{"p50", "— added latency p50, ms", 3}, {"p99", "— added latency p99, ms", 3},
		}, rate(1000, 64)},
		{"large", false, []metric{
			{"cpu", "500 echoes/s of 16 KiB, 100 sessions: CPU a message, µs", 1},
			{"p50", "— added latency p50, ms", 3},
		}, rate(500, 16<<10)},
		{"churn", false, []metric{{"cpu", "churn, 50 at a time: CPU a connection, µs", 0}, {"rate", "— connections/s", 0}}, churn(false)},
		{"capacity", false, []metric{{"rate", "capacity, 64 B, 100 sessions, p99 ≤ 50 ms: echoes/s", 0}}, capacity},
		{"tls-idle", true, []metric{{"memory", "wss, idle: memory a session, bytes", 0}}, idle},
		{"tls-rate", true, []metric{{"cpu", "wss, 1,000 echoes/s of 64 B, 100 sessions: CPU a message, µs", 1}}, echoes(1000, 64)},
		{"tls-large", true, []metric{{"cpu", "wss, 500 echoes/s of 16 KiB, 100 sessions: CPU a message, µs", 1}}, echoes(500, 16<<10)},
		{"tls-full", true, []metric{{"cpu", "wss, churn with full handshakes: CPU a connection, µs", 0}, {"rate", "— connections/s", 0}}, churn(false)},
		{"tls-resumed", true, []metric{
			{"cpu", "wss, churn with resumed handshakes: CPU a connection, µs", 0}, {"rate", "— connections/s", 0},
			{"resumed", "— of which resumed, %", 1},
		}, churn(true)},
	}
}

func (s *subject) options() bench.Options {
	return bench.Options{
		URL: s.url, Mode: bench.Echo, Sessions: 100, Ramp: 1000, Hold: 500 * time.Millisecond, Rate: 1000, Size: 64,
		Duration: s.seconds, Senders: 1, Parallel: 50, Rounds: 4, CapacityP99: 50 * time.Millisecond,
		Trial: time.Second, Timeout: 10 * time.Second, Roots: s.roots,
	}
}

func (s *subject) bench(ctx context.Context, o bench.Options) (*bench.Report, error) {
	rep, err := bench.Run(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, t := range rep.Targets {
		for _, f := range t.Failures {
			if s.failures == 0 {
				s.first = f.Kind + ": " + f.First
			}
			s.failures += f.Count
		}
	}
	return rep, ctx.Err()
}

// idle opens sessions, sends one message on each, and measures memory and CPU when
// they are idle.
func idle(ctx context.Context, s *subject) (figures, error) {
	o := s.options()
	o.Sessions, o.Rate, o.Duration = s.sessions, float64(s.sessions), time.Second
	before := pss(s.pids)
	f := figures{}
	o.Phase = func(name string) {
		if name != "closing" {
			return
		}
		time.Sleep(settle)
		from := cpu(s.pids)
		time.Sleep(settle)
		f["cpu"] = 100 * float64(cpu(s.pids)-from) / float64(settle)
		f["memory"] = float64(pss(s.pids)-before) / float64(o.Sessions)
	}
	_, err := s.bench(ctx, o)
	return f, err
}

// benchLoad is bench, and also measures the target's CPU time while the load lasts.
func (s *subject) benchLoad(ctx context.Context, o bench.Options) (rep *bench.Report, used time.Duration, err error) {
	var from time.Duration
	o.Phase = func(name string) {
		switch name {
		case "loading":
			from = cpu(s.pids)
		case "closing":
			used = cpu(s.pids) - from
		}
	}
	rep, err = s.bench(ctx, o)
	return rep, used, err
}

// rate sends messages at a fixed rate, alternately through the target and directly.
func rate(perSecond float64, size int) func(context.Context, *subject) (figures, error) {
	return func(ctx context.Context, s *subject) (figures, error) {
		o := s.options()
		o.Rate, o.Size, o.Direct = perSecond, size, s.direct
		rep, used, err := s.benchLoad(ctx, o)
		if err != nil {
			return nil, err
		}
		// An echo is two messages for a balancer.
		f := figures{"cpu": micros(used) / float64(2*rep.Targets[1].Received)}
		for _, a := range rep.Added {
			if a.What == "message" {
				f[a.Percentile] = float64(a.Median) / 1e6
			}
		}
		return f, nil
	}
}

// echoes sends messages at a fixed rate. With TLS a comparison with the servers behind
// the target would measure the client's TLS, too.
func echoes(perSecond float64, size int) func(context.Context, *subject) (figures, error) {
	return func(ctx context.Context, s *subject) (figures, error) {
		o := s.options()
		o.Rate, o.Size = perSecond, size
		rep, used, err := s.benchLoad(ctx, o)
		if err != nil {
			return nil, err
		}
		return figures{"cpu": micros(used) / float64(2*rep.Targets[0].Received)}, nil
	}
}

func churn(resume bool) func(context.Context, *subject) (figures, error) {
	return func(ctx context.Context, s *subject) (figures, error) {
		o := s.options()
		o.Mode, o.Rate, o.Resume = bench.Churn, 0, resume
		from := cpu(s.pids)
		rep, err := s.bench(ctx, o)
		if err != nil {
			return nil, err
		}
		t := rep.Targets[0]
		resumed := t.TLS[0].Resumed + t.TLS[1].Resumed
		return figures{"cpu": micros(cpu(s.pids)-from) / float64(t.Received), "rate": t.ReceivedRate,
			"resumed": 100 * float64(resumed) / float64(t.Opened)}, nil
	}
}

func capacity(ctx context.Context, s *subject) (figures, error) {
	o := s.options()
	o.Capacity, o.Duration = true, 500*time.Millisecond
	rep, err := s.bench(ctx, o)
	if err != nil {
		return nil, err
	}
	return figures{"rate": rep.Capacity[0].Rate}, nil
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
