package bench

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// Report has the results of a run.
type Report struct {
	Options      *Options
	Targets      []Result // with Options.Direct, the servers come before the balancer
	Added        []Added  // latency added by the balancer, with Options.Direct
	Capacity     []Capacity
	Took         time.Duration
	GeneratorCPU time.Duration // total CPU time of this process
	CPUs         int           // that this process may use
	Interrupted  bool
}

// Result has the results of one target.
type Result struct {
	Name string
	URLs []string

	Opened, Dropped int64 // sessions; in churn, connections
	OpeningTook     time.Duration
	HeldFor         time.Duration

	AskedRate    float64 // messages per second; in churn, connections per second; 0 for as fast as possible
	SentRate     float64 // sent; in churn, started
	ReceivedRate float64 // received; in churn, completed
	Sent         int64
	Unsent       int64 // due on sessions that had already ended
	Received     int64
	Lost         int64
	Unsolicited  int64 // received outside of a window, such as greetings

	Handshake, Message, Closing histogram.Summary

	// TLS has the handshakes of wss that succeeded: of TLS 1.2 and older, and of
	// TLS 1.3.
	TLS [2]TLS

	Late     uint64 // messages sent more than lateLimit after they were due
	LateP99  time.Duration
	LateMax  time.Duration
	BusyCPUs float64 // average CPUs used by the generator while it loaded the target

	Failures []Failure
}

// TLS counts handshakes.
type TLS struct{ Full, Resumed int64 }

// Added is the difference between a latency with and without the balancer: the
// median, minimum and maximum over the rounds.
type Added struct {
	What       string // "handshake" or "message"
	Percentile string
	Median     time.Duration
	Min        time.Duration
	Max        time.Duration
	Rounds     int
}

// Failed returns the total number of failures.
func (r *Report) Failed() (n int64) {
	for _, t := range r.Targets {
		for _, f := range t.Failures {
			n += f.Count
		}
	}
	return n
}

func (r *run) report() *Report {
	rep := &Report{Options: r.o, Capacity: r.capacity}
	for _, g := range r.groups {
		res := g.result()
		res.OpeningTook, res.HeldFor = r.rampTook, r.heldFor
		rep.Targets = append(rep.Targets, res)
	}
	if len(r.groups) == 2 {
		rep.Added = r.added()
	}
	return rep
}

func (g *group) result() Result {
	res := Result{
		Name: g.name, URLs: g.urls,
		Opened: g.opened.Load(), Dropped: g.dropped.Load(), Unsolicited: g.unsolicited.Load(),
		Handshake: g.handshake.Summary(), Closing: g.closing.Summary(),
		Failures: g.failures.list(),
	}
	for i := range g.tls {
		res.TLS[i] = TLS{g.tls[i].full.Load(), g.tls[i].resumed.Load()}
	}
	var message, late histogram.Histogram
	var took, wall, cpu time.Duration
	for _, w := range g.finished {
		res.AskedRate = w.asked
		res.Sent += w.sent.Load()
		res.Unsent += w.unsent.Load()
		res.Received += w.received.Load()
		res.Lost += w.lost
		took, wall, cpu = took+w.took, wall+w.wall, cpu+w.cpu
		message.Add(&w.latency)
		late.Add(&w.late)
	}
	if wall > 0 {
		res.SentRate = float64(res.Sent) / took.Seconds()
		res.ReceivedRate = float64(res.Received) / wall.Seconds()
		res.BusyCPUs = cpu.Seconds() / wall.Seconds()
	}
	res.Message = message.Summary()
	res.Late, res.LateP99, res.LateMax = late.Above(lateLimit), late.Quantile(0.99), late.Summary().Max
	return res
}

// minLate is the number of late messages up to which they are ignored, however few
// messages there are in total.
const minLate = 3

// bottleneck describes why the generator, and not the target, has limited the load.
// It returns "" if it hasn't.
func (r *Result) bottleneck(cpus int, interrupted bool) string {
	switch {
	case r.Sent == 0:
		return ""
	case r.Late > minLate && float64(r.Late) > 0.01*float64(r.Sent):
		return "more than 1 % of the messages were sent over 5 ms late"
	case !interrupted && r.Unsent == 0 && r.SentRate < 0.98*r.AskedRate:
		return "it sent less than 98 % of the asked rate"
	case r.BusyCPUs > 0.9*float64(cpus):
		return "it kept over 90 % of the CPUs busy"
	}
	return ""
}

var percentiles = []struct {
	name string
	of   func(histogram.Summary) time.Duration
}{
	{"p50", func(s histogram.Summary) time.Duration { return s.P50 }},
	{"p90", func(s histogram.Summary) time.Duration { return s.P90 }},
	{"p99", func(s histogram.Summary) time.Duration { return s.P99 }},
	{"p99.9", func(s histogram.Summary) time.Duration { return s.P999 }},
}

// added compares the two groups. Except in churn mode, handshakes are one round,
// because the sessions of both groups were opened in turn.
func (r *run) added() []Added {
	direct, balancer := r.groups[0], r.groups[1]
	var handshakes, messages [][2]histogram.Summary
	for i := range min(len(direct.finished), len(balancer.finished)) {
		d, b := direct.finished[i], balancer.finished[i]
		messages = append(messages, [2]histogram.Summary{d.latency.Summary(), b.latency.Summary()})
		handshakes = append(handshakes, [2]histogram.Summary{d.handshake.Summary(), b.handshake.Summary()})
	}
	if r.o.Mode != Churn {
		handshakes = [][2]histogram.Summary{{direct.handshake.Summary(), balancer.handshake.Summary()}}
	}
	return append(differences("handshake", handshakes), differences("message", messages)...)
}

func differences(what string, rounds [][2]histogram.Summary) (all []Added) {
	rounds = slices.DeleteFunc(rounds, func(r [2]histogram.Summary) bool { return r[0].Count == 0 || r[1].Count == 0 })
	if len(rounds) == 0 {
		return nil
	}
	for _, p := range percentiles {
		var d []time.Duration
		for _, r := range rounds {
			d = append(d, p.of(r[1])-p.of(r[0]))
		}
		slices.SortFunc(d, cmp.Compare[time.Duration])
		median := (d[(len(d)-1)/2] + d[len(d)/2]) / 2
		all = append(all, Added{what, p.name, median, d[0], d[len(d)-1], len(d)})
	}
	return all
}
