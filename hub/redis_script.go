package hub

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/prelude.lua
var prelude string

//go:embed scripts/publish.lua
var publishText string

//go:embed scripts/join.lua
var joinText string

//go:embed scripts/leave.lua
var leaveText string

//go:embed scripts/sync.lua
var syncText string

//go:embed scripts/beat.lua
var beatText string

var (
	publishScript = redis.NewScript(prelude + publishText)
	joinScript    = redis.NewScript(prelude + joinText)
	leaveScript   = redis.NewScript(prelude + leaveText)
	syncScript    = redis.NewScript(prelude + syncText)
	beatScript    = redis.NewScript(prelude + beatText)
)

var errReply = errors.New("hub: Redis replied in an unexpected form")

// enter runs join.lua.
func (r *redisRoom) enter(ctx context.Context, m *Membership, want resume) (past, error) {
	since := ""
	if want.given {
		since = want.since.String()
	}
	reply, err := joinScript.Run(ctx, r.hub.client, []string{r.keys.members, r.keys.stream},
		r.keys.channel, r.hub.membersTTL(), m.entry, formatMember(m.member), since, want.count).Slice()
	if err != nil {
		return past{}, err
	}
	if len(reply) != 2 {
		return past{}, errReply
	}
	newest, err1 := toID(reply[0])
	events, err2 := r.toEvents(reply[1])
	if !want.given {
		slices.Reverse(events)
	}
	return want.of(events, newest), errors.Join(err1, err2)
}

// snapshot is what sync.lua reads of a room.
type snapshot struct {
	newest  id
	missed  []*event
	version uint64
	epoch   string // another one when Redis has lost the members
	entries map[string]Member
}

// syncCall is a call of sync.lua for the present round.
func (r *redisRoom) syncCall() (round int, c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := ""
	if r.began {
		last = r.last.String()
	}
	args := []any{r.keys.channel, r.hub.membersTTL(), last, r.hub.opts.History}
	for m := range r.here {
		if m.entered {
			args = append(args, m.entry, formatMember(m.member))
		}
	}
	return r.round, &call{keys: []string{r.keys.members, r.keys.stream}, args: args}
}

func (r *redisRoom) toSnapshot(reply any) (s snapshot, err error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 3 {
		return s, errReply
	}
	flat, ok := parts[2].([]any)
	if !ok || len(flat)%2 != 0 {
		return s, errReply
	}
	fields := make(map[string]string, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		name, ok1 := flat[i].(string)
		value, ok2 := flat[i+1].(string)
		if !ok1 || !ok2 {
			return s, errReply
		}
		fields[name] = value
	}
	var err1, err2, err3 error
	s.newest, err1 = toID(parts[0])
	s.missed, err2 = r.toEvents(parts[1])
	s.version, err3 = strconv.ParseUint(fields["v"], 10, 64)
	s.epoch = fields["b"]
	s.entries = parseEntries(fields)
	return s, errors.Join(err1, err2, err3)
}

// parseEntries are the memberships in a hash of members, those of dead servers
// included.
func parseEntries(fields map[string]string) map[string]Member {
	entries := make(map[string]Member, len(fields))
	for entry, value := range fields {
		if entry == "b" || entry == "v" {
			continue
		}
		if m, err := parseMember(value); err == nil {
			entries[entry] = m
		}
	}
	return entries
}

func toID(reply any) (id, error) {
	s, ok := reply.(string)
	if !ok {
		return id{}, errReply
	}
	return parseID(s)
}

// toEvents reads entries of a stream: an ID each, and fields with their values.
func (r *redisRoom) toEvents(reply any) ([]*event, error) {
	entries, ok := reply.([]any)
	if !ok {
		return nil, errReply
	}
	events := make([]*event, 0, len(entries))
	for _, entry := range entries {
		pair, ok := entry.([]any)
		if !ok || len(pair) != 2 {
			return nil, errReply
		}
		fields, ok := pair[1].([]any)
		if !ok {
			return nil, errReply
		}
		var prev id
		var data string
		var errPrev error
		for i := 0; i+1 < len(fields); i += 2 {
			switch fields[i] {
			case "p":
				prev, errPrev = toID(fields[i+1])
			case "d":
				data, _ = fields[i+1].(string)
			}
		}
		id, err := toID(pair[0])
		if err := errors.Join(err, errPrev); err != nil {
			return nil, fmt.Errorf("%w: %w", errReply, err)
		}
		events = append(events, newMessage(r.room, id, prev, []byte(data)))
	}
	return events, nil
}

// call is one run of a script among several.
type call struct {
	keys []string
	args []any
	cmd  *redis.Cmd
}

// runAll runs a script many times in one pipeline. Its error is the first of
// any call's.
func runAll(ctx context.Context, client *redis.Client, script *redis.Script, calls []*call) error {
	pipeline := func(calls []*call) error {
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range calls {
				c.cmd = script.EvalSha(ctx, p, c.keys, c.args...)
			}
			return nil
		})
		return err
	}
	err := pipeline(calls)
	if err == nil {
		return nil
	}
	// After a restart Redis knows no scripts.
	var unknown []*call
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	if len(unknown) == 0 {
		return err
	}
	if err := script.Load(ctx, client).Err(); err != nil {
		return err
	}
	return pipeline(unknown)
}
