package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Names of rooms. Channels of centrifuge whose names begin with them are set up for
// many subscribers, and their connections follow their position.
const (
	largeRoom    = "large"
	followedRoom = "large-followed"
)

// figures are what a scenario has measured, by the keys of its metrics.
type figures map[string]float64

// metric is a row of the table.
type metric struct {
	key, label string
	digits     int
}

// scenario is something to measure with a system. Each has its own Redis.
type scenario struct {
	name       string
	noPresence bool
	stored     bool // Redis stores its data
	metrics    []metric
	run        func(b *bench) error
}

var scenarios = []scenario{
	{name: "fanout", metrics: []metric{
		{"p50", "1,000 members of a room on 3 servers: delivery of a message, p50, ms", 2},
		{"p99", "… p99, ms", 2},
		{"redis-cpu", "… Redis, CPU time per message, µs", 0},
		{"cpu", "… servers and publisher, CPU time per message, µs", 0},
	}, run: fanOut},
	{name: "calls", metrics: []metric{
		{"calls", "Redis calls per message, history full", 1},
		{"calls-key", "… with a key, so that it can be published again", 1},
	}, run: calls},
	{name: "rooms", metrics: []metric{
		{"join", "10,000 rooms on 3 servers, a member of each room on each server: a join, 100 at a time, ms", 2},
		{"heap", "… servers, heap per member, bytes", 0},
		{"memory", "… servers, heap and stacks per member, bytes", 0},
		{"redis-memory", "… Redis, memory per member, bytes", 0},
		{"p50", "… delivery of a message, p50, ms", 2},
		{"p99", "… p99, ms", 2},
		{"redis-cpu", "… Redis, CPU time per message, µs", 0},
	}, run: manyRooms},
	{name: "joins", metrics: []metric{
		{"seconds", "30,000 joins into one room, with presence, s", 1},
		{"failed", "… failed attempts to join", 0},
		{"calls", "… Redis calls per join", 1},
		{"ping", "… slowest answer of Redis to a PING meanwhile, ms", 0},
	}, run: joins},
	{name: "joins-no-presence", noPresence: true, metrics: []metric{
		{"seconds", "30,000 joins into one room, without presence, s", 1},
		{"failed", "… failed attempts to join", 0},
		{"calls", "… Redis calls per join", 1},
		{"ping", "… slowest answer of Redis to a PING meanwhile, ms", 0},
	}, run: joins},
	{name: "beside", metrics: []metric{
		{"alone", "100 small rooms: delivery of a message, p99, ms", 2},
		{"beside", "… p99 while each 250 ms a message goes to a room of 10,000 members, ms", 2},
		{"ratio", "… ratio of the two", 2},
		{"large-p50", "… delivery to the 10,000, p50, ms", 1},
		{"large-p99", "… p99, ms", 1},
	}, run: beside},
	{name: "killed", stored: true, metrics: outageMetrics("Redis killed, and started again after 5 s with its data"), run: killed},
	{name: "frozen", stored: true, metrics: outageMetrics("Redis stopped for 5 s by SIGSTOP"), run: frozen},
}

func outageMetrics(what string) []metric {
	return []metric{
		{"errors", what + ": failed attempts to publish", 0},
		{"first", "… from when Redis answers until the first of 99 members gets a new message, s", 2},
		{"last", "… until the last member gets one, s", 2},
		{"lost", "… messages lost", 0},
		{"doubled", "… messages received twice", 0},
		{"rejoins", "… members that had to join again", 0},
		{"printed", "… lines printed to standard error", 0},
	}
}

func names() (all []string) {
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return all
}

// bench is what a scenario measures with.
type bench struct {
	ctx     context.Context
	redis   *redisServer
	system  system
	figures figures
	small   bool

	failedJoins atomic.Int64
}

// join adds a member, again and again until that succeeds, as a client does, and counts the
// failures.
func (b *bench) join(server int, room, member string, receive func([]byte)) error {
	for began := time.Now(); ; pauseBeforeRejoin() {
		err := b.system.join(server, room, member, receive)
		if err == nil || time.Since(began) > time.Minute || b.ctx.Err() != nil {
			return err
		}
		b.failedJoins.Add(1)
	}
}

// size returns n, or much less for a test of this command.
func (b *bench) size(n int) int {
	if b.small {
		return max(n/100, 6)
	}
	return n
}

// measure measures SCENARIO/SYSTEM in this process, and prints the figures.
func (s *settings) measure(ctx context.Context, name string) error {
	wanted, with, _ := strings.Cut(name, "/")
	for _, sc := range scenarios {
		for _, sys := range systems {
			if sc.name != wanted || sys.name != with {
				continue
			}
			redis, err := startRedis(ctx, sc.stored)
			if err != nil {
				return err
			}
			defer redis.close()
			opened, err := sys.open(ctx, redis.url(), sc.noPresence)
			if err != nil {
				return err
			}
			b := &bench{ctx: ctx, redis: redis, system: opened, figures: figures{}, small: s.small}
			if err := sc.run(b); err != nil {
				return err
			}
			opened.close()
			return json.NewEncoder(os.Stdout).Encode(b.figures)
		}
	}
	return fmt.Errorf("there is no %q", name)
}
