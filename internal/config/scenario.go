package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Scenario is what holdfast simulate replays: clients, backends, and what is
// done to them. Each of Pools is simulated with each of Clients.
type Scenario struct {
	Name      string
	Seed      int
	Duration  time.Duration
	Sessions  int           // 1 to 10,000,000
	Arrive    time.Duration // less than Duration; 0: they are there from the beginning
	RoundTrip time.Duration // between clients and the balancer, on average
	Backends  SimBackends
	// Pools and Clients have at least one entry each. Of a Pool, only what can
	// be simulated is set; it has as many Backends as there are, all zero.
	Pools   []Pool
	Clients []SimClients
	Events  []SimEvent // in the order of their times

	Warnings []Error
}

// SimBackends is what simulated backends can do.
type SimBackends struct {
	Count    int
	Capacity float64       // handshakes a second
	Latency  time.Duration // of a handshake that didn't have to wait
	Backlog  int           // handshakes that may wait
	Slowdown float64       // how many times as long one takes with a full backlog, 1 to 100
	Hang     *SimHang      // nil: never
	Restart  time.Duration // how long it takes to start
}

// SimHang says when a backend is taken for hung and killed: when handshakes wait
// longer than Wait in it for For on end.
type SimHang struct{ Wait, For time.Duration }

// SimClients is what simulated clients do when they have no session.
type SimClients struct {
	Name       string
	Delay, Max time.Duration // before they try again; Max is at least Delay
	Factor     float64       // by which the delay grows with each failure, 1 to 10
	Jitter     int           // percent of the delay that is left to chance
	Timeout    time.Duration // of a handshake
}

// SimEvent is something done to simulated backends: one of Restart, Kill and
// Add is set.
type SimEvent struct {
	At      time.Duration
	Restart *SimRestart
	Kill    *SimKill
	Add     int
}

// SimRestart is a rolling deploy.
type SimRestart struct {
	Backends, Parallel int
	Pause              time.Duration
}

// SimKill has backends die.
type SimKill struct {
	Backends int
	Back     *time.Duration // nil: for good
}

const (
	maxSimulated    = 10_000_000
	maxSimTime      = 24 * time.Hour
	maxSimBackends  = 10_000
	maxSimCapacity  = 1_000_000
	shortestSimTime = time.Second
)

type scenarioDraft struct {
	Scenario
	arrive place
	pools  []poolDraft
	events []simEventDraft
}

type simEventDraft struct {
	SimEvent
	at       place
	kinds    []string // those that were given
	backends located[healthy]
}

// LoadScenario reads and checks the scenario at path. The error is an Errors.
func LoadScenario(path string) (*Scenario, error) {
	data, err := read(path)
	if err != nil {
		return nil, Errors{{File: path, Msg: reason(err)}}
	}
	return ParseScenario(path, data)
}

// ParseScenario checks the text of a scenario. name stands in its errors. The
// error is an Errors with every mistake found.
func ParseScenario(name string, data []byte) (*Scenario, error) {
	root, yamlErr := parseYAML(name, data)
	if yamlErr != nil {
		return nil, Errors{*yamlErr}
	}
	var r report
	d := &decoder{report: &r, file: name, sizes: make(map[*yaml.Node]int)}
	s := scenarioDraft{Scenario: Scenario{
		Seed: 1, Duration: 5 * time.Minute, RoundTrip: 60 * time.Millisecond,
		Backends: SimBackends{Latency: 20 * time.Millisecond, Backlog: 4096, Slowdown: 1, Restart: 10 * time.Second},
	}}
	readMapping(d, root, "a mapping with sessions, backends, pools, clients and events", place{file: name}, scenarioKeys, &s)
	r.checkScenario(&s)
	if len(r.errs) > 0 {
		return nil, Errors(inFileOrder(r.errs))
	}
	s.Warnings = inFileOrder(r.warnings)
	return &s.Scenario, nil
}

var scenarioKeys = []key[scenarioDraft]{
	{name: "name", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		if text, ok := d.scalar(n, "a text"); ok {
			s.Name = text.value
		}
	}},
	{name: "seed", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) { d.integer(n, &s.Seed, 0, 1<<31) }},
	{name: "duration", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		d.durationWithin(n, &s.Duration, false, shortestSimTime, maxSimTime)
	}},
	{name: "sessions", missing: "it isn't said how many sessions there are: write for example sessions: 1000000", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		d.integer(n, &s.Sessions, 1, maxSimulated)
	}},
	{name: "arrive", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		s.arrive = d.at(n)
		d.durationWithin(n, &s.Arrive, true, minDuration, maxSimTime)
	}},
	{name: "round_trip", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		d.durationWithin(n, &s.RoundTrip, true, minDuration, time.Minute)
	}},
	{name: "backends", missing: "it isn't said what backends there are: write for example backends: {count: 100, capacity: 500/s}", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		readMapping(d, n, "a mapping with count and capacity", d.at(n), simBackendKeys, &s.Backends)
	}},
	{name: "pools", missing: "no pools: give at least one, with what a pool of a configuration may have", read: readSimPools},
	{name: "clients", missing: "no clients: give at least one kind, such as patient: {delay: 5s}", read: readSimClients},
	{name: "events", read: func(d *decoder, n *yaml.Node, s *scenarioDraft) {
		items, _ := d.list(n, "a list of events")
		for _, item := range items {
			e := simEventDraft{at: d.at(item)}
			if _, ok := readMapping(d, item, "an event with at, and restart, kill or add", e.at, simEventKeys, &e); ok {
				s.events = append(s.events, e)
			}
		}
	}},
}

var simBackendKeys = []key[SimBackends]{
	{name: "count", missing: "it isn't said how many backends there are: write for example count: 100", read: func(d *decoder, n *yaml.Node, b *SimBackends) {
		d.integer(n, &b.Count, 1, maxSimBackends)
	}},
	{name: "capacity", missing: "it isn't said how many handshakes a backend can do: write for example capacity: 500/s", read: func(d *decoder, n *yaml.Node, b *SimBackends) {
		d.rate(n, &b.Capacity)
	}},
	{name: "latency", read: func(d *decoder, n *yaml.Node, b *SimBackends) {
		d.durationWithin(n, &b.Latency, true, minDuration, time.Minute)
	}},
	{name: "backlog", read: func(d *decoder, n *yaml.Node, b *SimBackends) { d.integer(n, &b.Backlog, 1, maxSimCapacity) }},
	{name: "slowdown", read: func(d *decoder, n *yaml.Node, b *SimBackends) { d.number(n, &b.Slowdown, 1, 100) }},
	{name: "hang", read: func(d *decoder, n *yaml.Node, b *SimBackends) {
		b.Hang = &SimHang{}
		readMapping(d, n, "a mapping with wait and for", d.at(n), simHangKeys, b.Hang)
	}},
	{name: "restart", read: func(d *decoder, n *yaml.Node, b *SimBackends) {
		d.durationWithin(n, &b.Restart, true, minDuration, maxSimTime)
	}},
}

var simHangKeys = []key[SimHang]{
	{name: "wait", missing: "it isn't said how long handshakes wait in a backend that hangs: write for example wait: 5s", read: func(d *decoder, n *yaml.Node, h *SimHang) {
		d.durationWithin(n, &h.Wait, false, minDuration, maxSimTime)
	}},
	{name: "for", missing: "it isn't said after how long a backend that hangs is killed: write for example for: 30s", read: func(d *decoder, n *yaml.Node, h *SimHang) {
		d.durationWithin(n, &h.For, false, minDuration, maxSimTime)
	}},
}

// simPoolKeys are those of a configuration's pool that can be simulated, with
// the same meaning.
var simPoolKeys = slices.DeleteFunc(slices.Clone(poolKeys), func(k key[poolDraft]) bool {
	return !slices.Contains([]string{"balance", "health", "drain", "admit", "reattach", "rebalance"}, k.name)
})

func readSimPools(d *decoder, n *yaml.Node, s *scenarioDraft) {
	entries, ok := d.entries(n, "a mapping from names to pools")
	if ok && len(entries) == 0 {
		d.fail(d.at(n), "no pools: give at least one, with what a pool of a configuration may have")
	}
	for _, e := range entries {
		p := newPoolDraft(d.checkName(located[string]{e.key, e.at, true}))
		p.balance.at = e.at
		if _, ok := readMapping(d, e.value, "a pool as in a configuration", e.at, simPoolKeys, &p); ok {
			s.pools = append(s.pools, p)
		}
	}
}

func readSimClients(d *decoder, n *yaml.Node, s *scenarioDraft) {
	entries, ok := d.entries(n, "a mapping from names to kinds of clients")
	if ok && len(entries) == 0 {
		d.fail(d.at(n), "no clients: give at least one kind, such as patient: {delay: 5s}")
	}
	for _, e := range entries {
		name := d.checkName(located[string]{e.key, e.at, true})
		c := SimClients{Name: name.value, Factor: 1, Timeout: 30 * time.Second}
		if _, ok := readMapping(d, e.value, "a mapping with delay", e.at, simClientKeys, &c); !ok {
			continue
		}
		if c.Max == 0 {
			c.Max = max(c.Delay, time.Minute)
		}
		if c.Max < c.Delay {
			d.fail(e.at, "the delay of %s is longer than its max of %s", short(c.Delay), short(c.Max))
		}
		s.Clients = append(s.Clients, c)
	}
}

var simClientKeys = []key[SimClients]{
	{name: "delay", missing: "it isn't said how long they wait before they come back: write for example delay: 1s", read: func(d *decoder, n *yaml.Node, c *SimClients) {
		d.durationWithin(n, &c.Delay, true, minDuration, maxSimTime)
	}},
	{name: "factor", read: func(d *decoder, n *yaml.Node, c *SimClients) { d.number(n, &c.Factor, 1, 10) }},
	{name: "max", read: func(d *decoder, n *yaml.Node, c *SimClients) {
		d.durationWithin(n, &c.Max, false, minDuration, maxSimTime)
	}},
	{name: "jitter", read: func(d *decoder, n *yaml.Node, c *SimClients) {
		if share, ok := d.backends(n, "a percentage such as 100%"); ok {
			if share.count > 0 {
				d.fail(d.at(n), "bad jitter %d: write a percentage, such as 100%%", share.count)
			}
			c.Jitter = share.percent
		}
	}},
	{name: "timeout", read: func(d *decoder, n *yaml.Node, c *SimClients) {
		d.durationWithin(n, &c.Timeout, false, minDuration, maxSimTime)
	}},
}

var simEventKeys = []key[simEventDraft]{
	{name: "at", missing: "it isn't said when: write for example at: 60s", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		d.durationWithin(n, &e.At, true, minDuration, maxSimTime)
	}},
	{name: "restart", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		e.kinds, e.Restart = append(e.kinds, "restart"), &SimRestart{Parallel: 1}
		e.backends = located[healthy]{healthy{percent: 100}, d.at(n), true}
		readMapping(d, n, "a mapping with backends and parallel", d.at(n), simRestartKeys, e)
	}},
	{name: "kill", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		e.kinds, e.Kill = append(e.kinds, "kill"), &SimKill{}
		readMapping(d, n, "a mapping with backends", d.at(n), simKillKeys, e)
	}},
	{name: "add", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		e.kinds = append(e.kinds, "add")
		d.integer(n, &e.Add, 1, maxSimBackends)
	}},
}

var simRestartKeys = []key[simEventDraft]{
	{name: "backends", read: readSimShare},
	{name: "parallel", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		d.integer(n, &e.Restart.Parallel, 1, maxSimBackends)
	}},
	{name: "pause", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		d.durationWithin(n, &e.Restart.Pause, true, minDuration, maxSimTime)
	}},
}

var simKillKeys = []key[simEventDraft]{
	{name: "backends", missing: "it isn't said how many backends die: write for example backends: 50%", read: readSimShare},
	{name: "back", read: func(d *decoder, n *yaml.Node, e *simEventDraft) {
		var back time.Duration
		if d.durationWithin(n, &back, true, minDuration, maxSimTime) {
			e.Kill.Back = &back
		}
	}},
}

func readSimShare(d *decoder, n *yaml.Node, e *simEventDraft) {
	e.backends.at = d.at(n)
	e.backends.value, e.backends.ok = d.backends(n, `a number of backends, or a percentage such as "50%"`)
}

// backends reads a number of backends or a percentage.
func (d *decoder) backends(n *yaml.Node, expected string) (h healthy, ok bool) {
	text, ok := d.scalar(n, expected)
	if !ok {
		return h, false
	}
	h, err := parseHealthy(text.value)
	if err != nil {
		d.fail(text.at, "%v", err)
	}
	return h, err == nil
}

// number reads a number from lowest to highest. It leaves into alone when there
// is a mistake.
func (d *decoder) number(n *yaml.Node, into *float64, lowest, highest float64) {
	text, ok := d.scalar(n, "a number")
	if !ok {
		return
	}
	v, err := strconv.ParseFloat(text.value, 64)
	if err != nil || strings.Trim(text.value, "0123456789.") != "" || v < lowest || v > highest {
		d.fail(text.at, "expected a number from %v to %v, got %s", lowest, highest, quote(text.value))
		return
	}
	*into = v
}

// of is how many of n backends are meant: at least one, where there is any.
func (h healthy) of(n int) int {
	if h.percent > 0 {
		return max(1, n*h.percent/100)
	}
	return h.count
}

// checkScenario looks at how the parts of a scenario go together.
func (r *report) checkScenario(s *scenarioDraft) {
	if s.Arrive >= s.Duration {
		r.fail(s.arrive, "they arrive over %s, and the simulation is over after %s: make duration longer", short(s.Arrive), short(s.Duration))
	}
	for _, p := range s.pools {
		if p.balance.value == "hash" {
			r.fail(p.name.at, "the pool %s has balance: hash, which can't be simulated: nothing is known of the clients' keys", quote(p.name.value))
		}
		if h := p.health; h.HTTP != nil || h.WebSocket != nil || h.TCP || h.Agent != nil {
			r.warn(p.name.at, "checks are not simulated: a dead backend of the pool %s is found by its failed handshakes alone", quote(p.name.value))
		}
		p.backends = make([]backendDraft, s.Backends.Count)
		s.Pools = append(s.Pools, r.checkPool(p))
	}
	for _, e := range s.events {
		if len(e.kinds) != 1 {
			r.fail(e.at, "an event is one of restart, kill and add, and this has %s", orNone(e.kinds))
			continue
		}
		n := e.backends.value.of(s.Backends.Count)
		switch {
		case !e.backends.ok || s.Backends.Count == 0:
		case n > s.Backends.Count:
			r.fail(e.backends.at, "there are only %d backends", s.Backends.Count)
		case n == 0:
			r.fail(e.backends.at, "nothing happens to no backend: give at least 1, or leave the event out")
		}
		if e.At >= s.Duration {
			r.warn(e.at, "the simulation is over after %s, before this happens", short(s.Duration))
		}
		switch {
		case e.Restart != nil:
			e.Restart.Backends = n
		case e.Kill != nil:
			e.Kill.Backends = n
		}
		s.Events = append(s.Events, e.SimEvent)
	}
	slices.SortStableFunc(s.Events, func(a, b SimEvent) int { return int(a.At - b.At) })
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none of them"
	}
	return strings.Join(words, " and ")
}
