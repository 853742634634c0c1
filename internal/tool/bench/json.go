package bench

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/histogram"
)

// The JSON format of a report. docs/bench.md documents every field; they must not
// change.
type (
	reportJSON struct {
		Mode        Mode           `json:"mode"`
		Sessions    int            `json:"sessions"`
		Size        int            `json:"size"`
		Seconds     float64        `json:"seconds"`
		Interrupted bool           `json:"interrupted"`
		Failed      int64          `json:"failed"`
		Generator   generatorJSON  `json:"generator"`
		Targets     []targetJSON   `json:"targets"`
		Added       []addedJSON    `json:"added,omitempty"`
		Capacity    []capacityJSON `json:"capacity,omitempty"`
	}
	generatorJSON struct {
		CPUSeconds float64 `json:"cpu_seconds"`
		CPUs       int     `json:"cpus"`
	}
	targetJSON struct {
		Name        string          `json:"name"`
		URLs        []string        `json:"urls"`
		Opened      int64           `json:"opened"`
		Dropped     int64           `json:"dropped"`
		Sent        int64           `json:"sent"`
		Unsent      int64           `json:"unsent"`
		Received    int64           `json:"received"`
		Lost        int64           `json:"lost"`
		Unsolicited int64           `json:"unasked"`
		Rate        rateJSON        `json:"rate"`
		Handshake   latencyJSON     `json:"handshake"`
		TLS         *tlsJSON        `json:"tls,omitempty"`
		Message     latencyJSON     `json:"message"`
		Close       latencyJSON     `json:"close"`
		Late        lateJSON        `json:"late"`
		BusyCPUs    float64         `json:"generator_cpus"`
		Bottleneck  string          `json:"generator_bottleneck,omitempty"`
		Failures    map[string]fail `json:"failures"`
	}
	tlsJSON struct {
		Full    int64 `json:"full"`
		Resumed int64 `json:"resumed"`
		TLS13   int64 `json:"tls_1_3"`
	}
	rateJSON struct {
		Asked    float64 `json:"asked"`
		Sent     float64 `json:"sent"`
		Received float64 `json:"received"`
	}
	latencyJSON struct {
		Count uint64  `json:"count"`
		Mean  float64 `json:"mean_ms"`
		P50   float64 `json:"p50_ms"`
		P90   float64 `json:"p90_ms"`
		P99   float64 `json:"p99_ms"`
		P999  float64 `json:"p99.9_ms"`
		Max   float64 `json:"max_ms"`
	}
	lateJSON struct {
		Count uint64  `json:"count"`
		P99   float64 `json:"p99_ms"`
		Max   float64 `json:"max_ms"`
	}
	fail struct {
		Count int64  `json:"count"`
		First string `json:"first"`
	}
	addedJSON struct {
		What       string  `json:"what"`
		Percentile string  `json:"percentile"`
		Median     float64 `json:"median_ms"`
		Least      float64 `json:"least_ms"`
		Most       float64 `json:"most_ms"`
		Rounds     int     `json:"rounds"`
	}
	capacityJSON struct {
		Target  string  `json:"target"`
		Rate    float64 `json:"rate"`
		P99     float64 `json:"p99_ms"`
		Limited bool    `json:"limited_by_generator"`
		Trials  []trial `json:"trials"`
	}
	trial struct {
		Rate      float64 `json:"rate"`
		Sustained bool    `json:"sustained"`
		P99       float64 `json:"p99_ms"`
		Late      bool    `json:"sent_late"`
	}
)

// PrintJSON writes the report as an indented JSON object.
func (r *Report) PrintJSON(to io.Writer) error {
	j := reportJSON{
		Mode: r.Options.Mode, Sessions: r.Options.Sessions, Size: r.Options.Size,
		Seconds: millis(r.Took) / 1e3, Interrupted: r.Interrupted, Failed: r.Failed(),
		Generator: generatorJSON{millis(r.GeneratorCPU) / 1e3, r.CPUs},
	}
	for i := range r.Targets {
		j.Targets = append(j.Targets, r.Targets[i].json(r.CPUs, r.Interrupted))
	}
	for _, a := range r.Added {
		j.Added = append(j.Added, addedJSON{a.What, a.Percentile, millis(a.Median), millis(a.Min), millis(a.Max), a.Rounds})
	}
	for _, c := range r.Capacity {
		to := capacityJSON{Target: c.Target, Rate: rounded(c.Rate), P99: millis(c.P99), Limited: c.Limited}
		for _, t := range c.Trials {
			to.Trials = append(to.Trials, trial{rounded(t.Rate), t.Sustained, millis(t.P99), t.Late})
		}
		j.Capacity = append(j.Capacity, to)
	}
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(j)
}

func (t *Result) json(cpus int, interrupted bool) targetJSON {
	j := targetJSON{
		Name: t.Name, URLs: t.URLs, Opened: t.Opened, Dropped: t.Dropped,
		Sent: t.Sent, Unsent: t.Unsent, Received: t.Received, Lost: t.Lost, Unsolicited: t.Unsolicited,
		Rate:      rateJSON{t.AskedRate, rounded(t.SentRate), rounded(t.ReceivedRate)},
		Handshake: latency(t.Handshake), Message: latency(t.Message), Close: latency(t.Closing),
		Late:     lateJSON{t.Late, millis(t.LateP99), millis(t.LateMax)},
		BusyCPUs: rounded(t.BusyCPUs), Bottleneck: t.bottleneck(cpus, interrupted), Failures: map[string]fail{},
	}
	if old, new := t.TLS[0], t.TLS[1]; old != new || old != (TLS{}) {
		j.TLS = &tlsJSON{old.Full + new.Full, old.Resumed + new.Resumed, new.Full + new.Resumed}
	}
	for _, f := range t.Failures {
		j.Failures[f.Kind] = fail{f.Count, f.First}
	}
	return j
}

func latency(s histogram.Summary) latencyJSON {
	return latencyJSON{s.Count, millis(s.Mean), millis(s.P50), millis(s.P90), millis(s.P99), millis(s.P999), millis(s.Max)}
}

func millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

func rounded(v float64) float64 { return math.Round(v*1e3) / 1e3 }
