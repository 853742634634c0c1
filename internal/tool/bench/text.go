package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// Print writes the report as text.
func (r *Report) Print(to io.Writer) {
	fmt.Fprintln(to, r.title())
	if r.Interrupted {
		fmt.Fprintln(to, "Interrupted: these are the results until then.")
	}
	fmt.Fprintln(to)
	r.printTargets(to)
	r.printAdded(to)
	r.printCapacity(to)
	r.printFailures(to)
	for _, t := range r.Targets {
		if how := t.bottleneck(r.CPUs, r.Interrupted); how != "" {
			fmt.Fprintf(to, "\nTHE GENERATOR, OR ITS MACHINE, WAS THE BOTTLENECK (%s): %s.\nThe latencies include its own delay. Use a lower --rate, or a separate machine for the generator.\n", t.Name, how)
		}
	}
}

func (r *Report) title() string {
	o := r.Options
	kind := "binary"
	if o.Text {
		kind = "text"
	}
	switch o.Mode {
	case Churn:
		how := fmt.Sprintf("%d at a time", o.Parallel)
		if o.Rate > 0 {
			how = fmt.Sprintf("%g a second", o.Rate)
		}
		return fmt.Sprintf("churn: connections, %s, with one echo of %d bytes (%s) each, for %s", how, o.Size, kind, o.Duration)
	case Idle:
		return fmt.Sprintf("idle: %d sessions held for %s", o.Sessions, o.Duration)
	case Fanout:
		return fmt.Sprintf("fanout: %d of %d sessions send %g messages a second of %d bytes (%s) to all, for %s", o.Senders, o.Sessions, o.Rate, o.Size, kind, o.Duration)
	}
	return fmt.Sprintf("echo: %d sessions, %g messages a second of %d bytes (%s), for %s", o.Sessions, o.Rate, o.Size, kind, o.Duration)
}

func (r *Report) printTargets(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(*Result) string) {
		fmt.Fprint(w, name)
		for i := range r.Targets {
			fmt.Fprint(w, "\t", cell(&r.Targets[i]))
		}
		fmt.Fprintln(w)
	}
	mode := r.Options.Mode
	row("", func(t *Result) string { return t.Name })
	row("", func(t *Result) string { return strings.Join(t.URLs, " ") })
	if mode == Churn {
		row("connections", func(t *Result) string {
			return fmt.Sprintf("%d begun, %d opened, %d completed", t.Sent, t.Opened, t.Received)
		})
		row("rate", func(t *Result) string { return fmt.Sprintf("%s, %.1f/s completed", t.rate(), t.ReceivedRate) })
	} else {
		row("sessions", func(t *Result) string {
			return fmt.Sprintf("%d of %d opened in %s, %d dropped", t.Opened, r.Options.Sessions, t.OpeningTook.Round(100*time.Millisecond), t.Dropped)
		})
	}
	if slices.ContainsFunc(r.Targets, func(t Result) bool { return t.TLS != [2]TLS{} }) {
		row("TLS", func(t *Result) string {
			var parts []string
			for i, version := range []string{"TLS 1.2", "TLS 1.3"} {
				if n := t.TLS[i]; n != (TLS{}) {
					parts = append(parts, fmt.Sprintf("%s: %d full, %d resumed", version, n.Full, n.Resumed))
				}
			}
			return cmp.Or(strings.Join(parts, ", "), "-")
		})
	}
	if mode == Echo || mode == Fanout {
		row("messages", func(t *Result) string {
			s := fmt.Sprintf("%d sent, %d received", t.Sent, t.Received)
			if t.Unsent > 0 {
				s += fmt.Sprintf(", %d not sent because their session had ended", t.Unsent)
			}
			return s
		})
		row("rate", func(t *Result) string { return fmt.Sprintf("%s, %.1f/s received", t.rate(), t.ReceivedRate) })
	}
	latency := func(name string, of func(*Result) histogram.Summary) {
		for i, p := range append(percentiles, struct {
			name string
			of   func(histogram.Summary) time.Duration
		}{"max", func(s histogram.Summary) time.Duration { return s.Max }}) {
			if i > 0 {
				name = ""
			}
			row(fmt.Sprintf("%-10s %s", name, p.name), func(t *Result) string {
				if of(t).Count == 0 {
					return "-"
				}
				return ms(p.of(of(t)))
			})
		}
	}
	latency("handshake", func(t *Result) histogram.Summary { return t.Handshake })
	if mode != Idle {
		latency("message", func(t *Result) histogram.Summary { return t.Message })
	}
	latency("close", func(t *Result) histogram.Summary { return t.Closing })
	if mode != Idle {
		row("sent late", func(t *Result) string {
			return fmt.Sprintf("%d over %s, p99 %s, max %s", t.Late, lateLimit, ms(t.LateP99), ms(t.LateMax))
		})
		row("generator", func(t *Result) string { return fmt.Sprintf("%.2f of %d CPUs", t.BusyCPUs, r.CPUs) })
	}
	w.Flush()
}

func (t *Result) rate() string {
	if t.AskedRate == 0 {
		return fmt.Sprintf("%.1f/s begun", t.SentRate)
	}
	return fmt.Sprintf("%g/s asked, %.1f/s sent", t.AskedRate, t.SentRate)
}

func (r *Report) printAdded(to io.Writer) {
	if len(r.Added) == 0 {
		return
	}
	fmt.Fprintln(to, "\nadded by the balancer (balancer minus direct):")
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, a := range r.Added {
		fmt.Fprintf(w, "%s %s\t%s", a.What, a.Percentile, signed(a.Median))
		if a.Rounds > 1 {
			fmt.Fprintf(w, "\tmedian of %d rounds, %s to %s", a.Rounds, signed(a.Min), signed(a.Max))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

func (r *Report) printCapacity(to io.Writer) {
	if len(r.Capacity) == 0 {
		return
	}
	fmt.Fprintf(to, "\ncapacity (echoes a second, all answered, p99 at most %s):\n", r.Options.CapacityP99)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, c := range r.Capacity {
		fmt.Fprintf(w, "%s\t%.0f/s\tp99 %s", c.Target, c.Rate, ms(c.P99))
		if c.Limited {
			fmt.Fprint(w, "\tat least: the generator can't send faster")
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	of := func(name string) float64 {
		for _, c := range r.Capacity {
			if c.Target == name {
				return c.Rate
			}
		}
		return 0
	}
	if one, b := of(targetOneServer), of(targetBalancer); one > 0 && b > 0 {
		fmt.Fprintf(to, "load balancing gives %.2f times the capacity of one server\n", b/one)
	}
	if d, b := of(targetDirect), of(targetBalancer); d > 0 && b > 0 {
		fmt.Fprintf(to, "the capacity through the balancer is %.2f times that of its servers without it\n", b/d)
	}
}

func (r *Report) printFailures(to io.Writer) {
	fmt.Fprintln(to)
	if r.Failed() == 0 {
		fmt.Fprintln(to, "no failures")
		return
	}
	fmt.Fprintln(to, "FAILURES:")
	for _, t := range r.Targets {
		for _, f := range t.Failures {
			fmt.Fprintf(to, "  %s: %s %d times, first: %s\n", t.Name, f.Kind, f.Count, f.First)
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d)/1e6) }

func signed(d time.Duration) string { return fmt.Sprintf("%+.3f ms", float64(d)/1e6) }
