package bench

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/histogram"
)

// Report is what came of a run.
type Report struct {
	Options      *Options
	Targets      []Result // direct, where there is one, before the URL
	Added        []Added  // what the balancer adds, with Options.Direct
	Capacity     []Capacity
	Took         time.Duration
	GeneratorCPU time.Duration // of this process, in all
	CPUs         int           // that it may use
	Interrupted  bool
}

// Result is what came of one target.
type Result struct {
	Name string
	URLs []string

	Opened, Dropped int64 // sessions (churn: connections)
	OpeningTook     time.Duration
	HeldFor         time.Duration

	AskedRate    float64 // a second: messages, of a churn connections; 0: as fast as it goes
	SentRate     float64 // the same, sent (begun)
	ReceivedRate float64 // messages received (connections completed)
	Sent         int64
	Unsent       int64 // due on sessions that had ended
	Received     int64
	Lost         int64
	Unasked      int64 // received while none was under way: greetings

	Handshake, Message, Closing histogram.Summary

	Late     uint64 // sent more than lateLimit after they were due
	LateP99  time.Duration
	LateMax  time.Duration
	BusyCPUs float64 // that the generator used on average while it loaded the target

	Failures []Failure
}

// Added is by how much one figure through the balancer is above the same
// without it: the median over the rounds, and the least and the most of them.
type Added struct {
	What       string // "handshake" or "message"
	Percentile string
	Median     time.Duration
	Least      time.Duration
	Most       time.Duration
	Rounds     int
}

// Failed is how many failures there were in all.
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
		Opened: g.opened.Load(), Dropped: g.dropped.Load(), Unasked: g.unasked.Load(),
		Handshake: g.handshake.Summary(), Closing: g.closing.Summary(),
		Failures: g.failures.list(),
	}
	var message, late histogram.Histogram
	var took, wall, cpu time.Duration
	for _, w := range g.past {
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

// fewLate messages sent late say nothing, however few there are.
const fewLate = 3

// behind tells in which way the generator, and not the target, was what held
// the load back; "" where it was not.
func (r *Result) behind(cpus int, interrupted bool) string {
	switch {
	case r.Sent == 0:
		return ""
	case r.Late > fewLate && float64(r.Late) > 0.01*float64(r.Sent):
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

// added compares the two groups. Handshakes of held sessions are one round:
// they were opened in turn.
func (r *run) added() []Added {
	direct, balancer := r.groups[0], r.groups[1]
	var handshakes, messages [][2]histogram.Summary
	for i := range min(len(direct.past), len(balancer.past)) {
		d, b := direct.past[i], balancer.past[i]
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
