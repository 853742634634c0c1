// Package scenario has the model of what holdfast simulate replays, and reads
// it from a file. Its pools have the keys of a configuration's.
package scenario

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Scenario is clients, backends, and the events that happen to them. Each of
// Pools is simulated with each of Clients.
type Scenario struct {
	Name     string        `key:"name" want:"a text"`
	Seed     int           `key:"seed" range:"0..2147483648"`
	Duration time.Duration `key:"duration" range:"1s..24h"`
	Sessions int           `key:"sessions" zero:"unset" range:"1..10000000"`
	// Arrive is less than Duration; with 0 all clients are there from the
	// beginning.
	Arrive    time.Duration `key:"arrive" range:"0|1ms..24h"`
	RoundTrip time.Duration `key:"round_trip" range:"0|1ms..1m"` // between clients and the balancer, on average
	Backends  Backends      `key:"backends" want:"a mapping with count and capacity"`
	// Pools and Clients have at least one entry each.
	Pools   []Pool    `key:"pools" want:"a mapping from names to pools" item:"a pool as in a configuration"`
	Clients []Clients `key:"clients" want:"a mapping from names to kinds of clients" item:"a mapping with delay"`
	Events  []Event   `key:"events" want:"a list of events" item:"an event with at, and restart, kill, add or scale"` // in the order of their times

	Warnings []config.Error
}

// Backends describes simulated backends.
type Backends struct {
	Count    int           `key:"count" zero:"unset" range:"1..10000"`
	Backups  int           `key:"backups" range:"0..9999"`         // of Count, the last ones
	Capacity float64       `key:"capacity" as:"rate" zero:"unset"` // handshakes a second
	Latency  time.Duration `key:"latency" range:"0|1ms..1m"`       // of a handshake that didn't have to wait
	Backlog  int           `key:"backlog" range:"1..1000000"`      // handshakes that may wait
	// Slowdown is how many times as long a handshake takes with a full backlog.
	Slowdown float64       `key:"slowdown" as:"number" range:"1..100"`
	Hang     *Hang         `key:"hang" want:"a mapping with wait and for"`     // nil: never
	Restart  time.Duration `key:"restart" range:"0|1ms..24h"`                  // how long it takes to start
	Cold     *Cold         `key:"cold" want:"a mapping with for and slowdown"` // nil: never
}

// Cold says that a backend that has just started is slow: a handshake takes Slowdown times as
// long, and proportionally less until For is over.
type Cold struct {
	For      time.Duration `key:"for" zero:"unset" range:"1ms..24h"`
	Slowdown float64       `key:"slowdown" as:"number" zero:"unset" range:"1..100"`
}

// Hang says when a backend is considered hung and killed: when handshakes wait
// longer than Wait in it, continuously over For.
type Hang struct {
	Wait time.Duration `key:"wait" zero:"unset" range:"1ms..24h"`
	For  time.Duration `key:"for" zero:"unset" range:"1ms..24h"`
}

// Pool has the keys of a config.Pool that can be simulated, with the same
// meaning, and ScaleIn.
type Pool struct {
	Name      string
	Balance   string            `key:"balance" as:"algorithm"`
	Health    config.Health     `key:"health" want:"a mapping of checks and of what follows from them"`
	Drain     config.Drain      `key:"drain" want:"a mapping with timeout and spread"`
	Admit     *config.Admit     `key:"admit" want:"a mapping with rate"`
	Reattach  *session.Reattach `key:"reattach" want:"a mapping with on and timeout"`
	Rebalance *config.Rebalance `key:"rebalance" want:"a mapping with above and rate"`
	// ScaleIn says which backends a Scale removes: the emptiest, by their deletion costs; the
	// newest; or any.
	ScaleIn string `key:"scale_in" words:"emptiest newest random"`
}

// SetDefaults implements config.Defaulter.
func (p *Pool) SetDefaults() {
	d := config.NewPool("")
	p.Balance, p.Health, p.Drain, p.ScaleIn = d.Balance, d.Health, d.Drain, "emptiest"
}

// Clients describes how simulated clients behave when they have no session.
type Clients struct {
	Name   string
	Delay  time.Duration `key:"delay" range:"0|1ms..24h"` // before they try again
	Factor float64       `key:"factor" as:"number" range:"1..10"`
	// Max is the longest delay. The default is a minute, or Delay if that is
	// longer.
	Max     time.Duration `key:"max" zero:"unset" range:"1ms..24h"`
	Jitter  config.Share  `key:"jitter" want:"a percentage such as 100%"` // the part of the delay that is left to chance
	Timeout time.Duration `key:"timeout" range:"1ms..24h"`                // of a handshake
}

// SetDefaults implements config.Defaulter.
func (c *Clients) SetDefaults() { c.Factor, c.Timeout = 1, 30*time.Second }

// Event is something done to simulated backends: one of Restart, Kill, Add and Scale
// is set.
type Event struct {
	At      time.Duration `key:"at" range:"0|1ms..24h"`
	Restart *Restart      `key:"restart" want:"a mapping with backends and parallel"`
	Kill    *Kill         `key:"kill" want:"a mapping with backends"`
	Add     int           `key:"add" zero:"unset" range:"1..10000"`
	Scale   *Scale        `key:"scale" want:"a mapping with to, every, warm and grace"`
}

// Scale is what an autoscaler does: backends join or leave until there are To of them.
type Scale struct {
	To    int           `key:"to" zero:"unset" range:"1..10000"`
	Every time.Duration `key:"every" range:"0|1ms..24h"` // between two that join
	Warm  time.Duration `key:"warm" range:"0|1ms..24h"`  // until the checks of one that joins pass
	Grace time.Duration `key:"grace" range:"0|1ms..24h"` // until one that leaves is killed
}

// SetDefaults implements config.Defaulter.
func (s *Scale) SetDefaults() { s.Grace = 30 * time.Second }

// Restart is a rolling deploy.
type Restart struct {
	Backends config.Share  `key:"backends" want:"a number of backends, or a percentage such as \"50%\""`
	Parallel int           `key:"parallel" range:"1..10000"`
	Pause    time.Duration `key:"pause" range:"0|1ms..24h"`
}

// SetDefaults implements config.Defaulter.
func (r *Restart) SetDefaults() { r.Backends.Percent, r.Parallel = 100, 1 }

// Kill makes backends die.
type Kill struct {
	Backends config.Share   `key:"backends" want:"a number of backends, or a percentage such as \"50%\""`
	Back     *time.Duration `key:"back" as:"duration" range:"0|1ms..24h"` // nil: for good
}

// Count is how many backends a share of them is: at least one, if there is any.
func (s *Scenario) Count(share config.Share) int {
	if share.Percent > 0 {
		return max(1, s.Backends.Count*share.Percent/100)
	}
	return share.Count
}

// Load reads and checks the scenario at path. The error is a config.Errors.
func Load(path string) (*Scenario, error) {
	data, err := yaml.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse checks the text of a scenario. name is its name in errors. The error is
// a config.Errors with every error found.
func Parse(name string, data []byte) (*Scenario, error) {
	s := &Scenario{
		Seed: 1, Duration: 5 * time.Minute, RoundTrip: 60 * time.Millisecond,
		Backends: Backends{Latency: 20 * time.Millisecond, Backlog: 4096, Slowdown: 1, Restart: 10 * time.Second},
	}
	f, err := yaml.Read(name, data, "a mapping with sessions, backends, pools, clients and events", s)
	if err != nil {
		return nil, err
	}
	c := checker{config.NewValidator(f, &f.Report)}
	if c.OK("") {
		c.Section(s)
		c.scenario(s)
	}
	if errs := f.Report.Errors(); len(errs) > 0 {
		return nil, errs
	}
	s.Warnings = f.Report.Warnings()
	return s, nil
}

type checker struct{ *config.Validator }

func (c checker) scenario(s *Scenario) {
	c.Require("sessions", s.Sessions != 0, "the number of sessions is missing: write for example sessions: 1000000")
	if s.Arrive >= s.Duration && c.OK("arrive") && c.OK("duration") {
		c.Fail("arrive", "the clients arrive over %s, but the simulation ends after %s: make duration longer", config.Duration(s.Arrive), config.Duration(s.Duration))
	}
	c.backends(&s.Backends)
	c.Require("pools", len(s.Pools) > 0, "no pools: give at least one, with what a pool of a configuration may have")
	for i := range s.Pools {
		c.pool(&s.Pools[i], s.Backends.Count-s.Backends.Backups)
	}
	c.Require("clients", len(s.Clients) > 0, "no clients: give at least one kind, such as patient: {delay: 5s}")
	for i := range s.Clients {
		c.clients(&s.Clients[i])
	}
	for i := range s.Events {
		c.event(config.Path("events").Index(i), s, &s.Events[i])
	}
	slices.SortStableFunc(s.Events, func(a, b Event) int { return int(a.At - b.At) })
}

func (c checker) backends(b *Backends) {
	const p config.Path = "backends"
	if !c.Given(p) {
		c.Require(p, false, "the backends are missing: write for example backends: {count: 100, capacity: 500/s}")
		return
	}
	c.Require(p.Key("count"), b.Count != 0, "the number of backends is missing: write for example count: 100")
	if b.Backups > 0 && b.Backups >= b.Count && c.OK(p.Key("count")) && c.OK(p.Key("backups")) {
		c.Fail(p.Key("backups"), "%d of %d backends are backups, which makes no difference: leave some for them to stand in for", b.Backups, b.Count)
	}
	c.Require(p.Key("capacity"), b.Capacity != 0, "the capacity of a backend is missing: write for example capacity: 500/s")
	if cold := b.Cold; cold != nil {
		c.Require(p.Key("cold").Key("for"), cold.For != 0, "how long a backend that has started is cold is missing: write for example for: 60s")
		c.Require(p.Key("cold").Key("slowdown"), cold.Slowdown != 0, "how many times as long a handshake takes in a cold backend is missing: write for example slowdown: 4")
	}
	if h := b.Hang; h != nil {
		c.Require(p.Key("hang").Key("wait"), h.Wait != 0, "the wait of handshakes in a backend that hangs is missing: write for example wait: 5s")
		c.Require(p.Key("hang").Key("for"), h.For != 0, "the time after which a backend that hangs is killed is missing: write for example for: 30s")
	}
}

// pool checks a pool with that many backends that are no backups.
func (c checker) pool(sp *Pool, backends int) {
	p := config.PoolPath(sp.Name)
	if !c.OK(p) {
		return
	}
	if err := config.CheckName(sp.Name); err != nil {
		c.Fail(p, "%v", err)
	}
	if sp.Balance == "hash" {
		c.Fail(p, "the pool %s has balance: hash, which can't be simulated: the clients' keys are not known", hint.Quote(sp.Name))
	}
	if sp.Health.Active() {
		c.Warn(p, "checks are not simulated: a dead backend of the pool %s is found by its failed handshakes alone", hint.Quote(sp.Name))
	}
	full := config.Pool{Name: sp.Name, Balance: sp.Balance, Health: sp.Health, Drain: sp.Drain, Admit: sp.Admit, Reattach: sp.Reattach,
		Rebalance: sp.Rebalance, Backends: make([]config.Backend, max(backends, 0))}
	c.Pool(&full)
	sp.Drain, sp.Admit = full.Drain, full.Admit
}

func (c checker) clients(k *Clients) {
	p := config.Path("clients").Named(k.Name)
	if !c.OK(p) {
		return
	}
	if err := config.CheckName(k.Name); err != nil {
		c.Fail(p, "%v", err)
	}
	c.Require(p.Key("delay"), c.Given(p.Key("delay")), "the delay before clients come back is missing: write for example delay: 1s")
	if k.Max == 0 {
		k.Max = max(k.Delay, time.Minute)
	}
	if k.Max < k.Delay && c.OK(p.Key("delay")) && c.OK(p.Key("max")) {
		c.Fail(p, "the delay of %s is longer than its max of %s", config.Duration(k.Delay), config.Duration(k.Max))
	}
	if k.Jitter.Count > 0 {
		c.Fail(p.Key("jitter"), "bad jitter %d: write a percentage, such as 100%%", k.Jitter.Count)
	}
}

func (c checker) event(p config.Path, s *Scenario, e *Event) {
	if !c.OK(p) {
		return
	}
	c.Require(p.Key("at"), c.Given(p.Key("at")), "the time of the event is missing: write for example at: 60s")
	var kinds []string
	var backends config.Path
	n := 1
	if e.Restart != nil {
		kinds, backends = append(kinds, "restart"), p.Key("restart").Key("backends")
		n = s.Count(e.Restart.Backends)
	}
	if e.Kill != nil {
		kinds, backends = append(kinds, "kill"), p.Key("kill").Key("backends")
		n = s.Count(e.Kill.Backends)
		c.Require(backends, c.Given(backends), "the number of backends that die is missing: write for example backends: 50%")
	}
	if c.Given(p.Key("add")) {
		kinds = append(kinds, "add")
	}
	if e.Scale != nil {
		kinds = append(kinds, "scale")
		to := p.Key("scale").Key("to")
		c.Require(to, e.Scale.To != 0, "the number of backends is missing: write for example to: 6")
		if b := s.Backends.Backups; b > 0 {
			c.Fail(p, "backends can't be scaled if some are backups: leave out backups or the event")
		}
	}
	if len(kinds) != 1 {
		c.Fail(p, "an event is one of restart, kill, add and scale, and this has %s", orNone(kinds))
		return
	}
	switch {
	case backends == "" || !c.OK(backends) || s.Backends.Count == 0 || !c.OK("backends.count"):
	case n > s.Backends.Count:
		c.Fail(backends, "there are only %d backends", s.Backends.Count)
	case n == 0:
		c.Fail(backends, "an event needs at least 1 backend: give more, or leave the event out")
	}
	if e.At >= s.Duration {
		c.Warn(p, "the simulation ends after %s, before this happens", config.Duration(s.Duration))
	}
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none of them"
	}
	return strings.Join(words, " and ")
}
