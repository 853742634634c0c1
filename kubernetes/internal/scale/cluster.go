package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// askTimeout is how long a replica has to answer.
	askTimeout = 2 * time.Second
	// Remember is how long the last figures of a replica that doesn't answer are used.
	Remember = time.Minute
	// reuse is how old sums may be: many ScaledObjects are asked about at the same time.
	reuse = time.Second
	// maxReport bounds an answer: 100,000 pods need about 5 MiB.
	maxReport = 32 << 20
	// maxAsked is how many replicas are asked at the same time.
	maxAsked = 32
)

// ErrUnknown means that this replica has no configuration yet.
var ErrUnknown = errors.New("this replica has no configuration yet, and knows of no sessions")

// ClusterOptions are a Cluster's dependencies.
type ClusterOptions struct {
	Local *Local
	// Peers lists the other replicas.
	Peers func() []Peer
	// Log returns the log, when there is something to say.
	Log func() *slog.Logger
	// Now is the time; nil means the system's.
	Now func() time.Time
}

// Cluster adds up the loads of all replicas. It asks the others only when it is asked.
// Its methods are safe for concurrent use.
type Cluster struct {
	o      ClusterOptions
	client *http.Client

	asking sync.Mutex // held while the others are asked; guards the following
	last   map[string]answer
	sums   Loads
	at     time.Time

	mu     sync.Mutex // guards states
	states map[string]int
}

// answer is the last one of a replica.
type answer struct {
	report Report
	at     time.Time
	failed bool // it hasn't answered since
}

// States of replicas, in metrics: those that answer, those whose last figures are used,
// and those that are left out.
const (
	answering = "answering"
	silent    = "silent"
	missing   = "missing"
)

// NewCluster makes a Cluster. The caller must Close it.
func NewCluster(o ClusterOptions) *Cluster {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Cluster{
		o: o, last: map[string]answer{}, states: map[string]int{},
		client: &http.Client{
			Timeout: askTimeout,
			// Neither proxies nor redirects: the others are asked, and nobody else.
			Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute, ResponseHeaderTimeout: askTimeout},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close closes connections to other replicas.
func (c *Cluster) Close() { c.client.CloseIdleConnections() }

// Loads returns the sums, which are about a second old at most. The caller must not change them.
// The error is ErrUnknown.
func (c *Cluster) Loads() (Loads, error) {
	own, known := c.o.Local.Report()
	if !known {
		return Loads{}, ErrUnknown
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	if !c.at.IsZero() && c.o.Now().Sub(c.at) < reuse {
		return c.sums, nil
	}
	sums := newLoads()
	sums.add(&own)
	peers := c.o.Peers()
	answers := c.ask(peers)
	last, states := make(map[string]answer, len(peers)), map[string]int{answering: 1}
	for i, p := range peers {
		state := c.count(p, answers[i], &sums, last)
		states[state]++
	}
	c.last, c.sums, c.at = last, sums, c.o.Now()
	c.mu.Lock()
	c.states = states
	c.mu.Unlock()
	return sums, nil
}

// asked is what came of asking one replica.
type asked struct {
	report Report
	err    error
}

// count adds an answer to the sums, or the last one if there is none now. It returns
// the replica's state.
func (c *Cluster) count(p Peer, now asked, sums *Loads, last map[string]answer) (state string) {
	before, known := c.last[p.Name]
	if now.err == nil {
		if before.failed {
			c.o.Log().Info("a replica answers again", "replica", p.Name)
		}
		sums.add(&now.report)
		last[p.Name] = answer{report: now.report, at: c.o.Now()}
		return answering
	}
	if !before.failed {
		c.o.Log().Warn("a replica doesn't say how many sessions it has", "replica", p.Name, "address", p.Address, "error", now.err)
	}
	before.failed = true
	last[p.Name] = before
	if known && !before.at.IsZero() && c.o.Now().Sub(before.at) < Remember {
		sums.add(&before.report)
		return silent
	}
	sums.Missing = append(sums.Missing, p.Name)
	last[p.Name] = answer{failed: true} // its figures aren't needed any more
	return missing
}

// ask asks all replicas at the same time.
func (c *Cluster) ask(peers []Peer) []asked {
	answers := make([]asked, len(peers))
	free := make(chan struct{}, maxAsked)
	var asking sync.WaitGroup
	for i, p := range peers {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			answers[i].report, answers[i].err = c.askOne(p)
		})
	}
	asking.Wait()
	return answers
}

func (c *Cluster) askOne(p Peer) (r Report, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Address+"/loads", nil)
	if err != nil {
		return r, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	return parseReport(io.LimitReader(resp.Body, maxReport), p.Name)
}

// parseReport reads the answer of a replica. Another name means that the address belongs
// to another pod by now.
func parseReport(body io.Reader, replica string) (r Report, err error) {
	if err := json.NewDecoder(body).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("its answer is no report: %w", err)
	}
	if r.Replica != replica {
		return Report{}, fmt.Errorf("its address belongs to %q", r.Replica)
	}
	for i := range r.Services {
		s := &r.Services[i]
		bad := outside(float64(s.Sessions)) || outside(float64(s.Queue)) || outside(s.MessagesPerSecond) || outside(s.NewPerSecond)
		for _, n := range s.Pods {
			bad = bad || outside(float64(n))
		}
		if bad {
			return Report{}, fmt.Errorf("its answer has an impossible number for the Service %q", s.Namespace+"/"+s.Name)
		}
	}
	return r, nil
}

// outside reports whether a number is impossible. Sums of the others can't overflow.
func outside(v float64) bool { return v < 0 || v > 1<<40 }

var replicasDesc = prometheus.NewDesc("holdfast_replicas",
	"Replicas of the controller, this one included, when their sessions were last added up: answering, silent (their last figures are used), or missing (they are left out).", []string{"state"}, nil)

// Describe implements prometheus.Collector.
func (c *Cluster) Describe(ch chan<- *prometheus.Desc) { ch <- replicasDesc }

// Collect implements prometheus.Collector.
func (c *Cluster) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, state := range []string{answering, silent, missing} {
		ch <- prometheus.MustNewConstMetric(replicasDesc, prometheus.GaugeValue, float64(c.states[state]), state)
	}
}
