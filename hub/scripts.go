package hub

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
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

//go:embed scripts/history.lua
var historyText string

//go:embed scripts/leave.lua
var leaveText string

//go:embed scripts/sync.lua
var syncText string

//go:embed scripts/renew.lua
var renewText string

var (
	publishScript = redis.NewScript(prelude + publishText)
	joinScript    = redis.NewScript(prelude + joinText)
	historyScript = redis.NewScript(prelude + historyText)
	leaveScript   = redis.NewScript(prelude + leaveText)
	syncScript    = redis.NewScript(prelude + syncText)
	renewScript   = redis.NewScript(prelude + renewText)
)

var errReply = errors.New("hub: unexpected reply from Redis")

// publishCommand is the first argument of the scripts that publish.
func (h *redisHub) publishCommand() string {
	if h.opts.ShardedPubSub {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// register runs join.lua: it adds m's entry to the room's members and reads the
// requested part of the history.
func (r *redisRoom) register(ctx context.Context, m *Membership, request historyRequest) (historyPage, error) {
	args := append([]any{
		r.hub.publishCommand(), r.keys.channel, r.hub.membersTTL(), m.entry, formatMember(m.member),
	}, request.args()...)
	reply, err := joinScript.Run(ctx, r.hub.client, []string{r.keys.members, r.keys.stream}, args...).Result()
	if err != nil {
		return historyPage{}, err
	}
	return parsePage(r.room, request, reply)
}

// readHistory runs history.lua, which reads the requested part of a room's history.
func (h *redisHub) readHistory(ctx context.Context, room string, request historyRequest) (historyPage, error) {
	k := keysOf(h.opts.Prefix, room)
	reply, err := historyScript.Run(ctx, h.client, []string{k.stream}, request.args()...).Result()
	if err != nil {
		return historyPage{}, err
	}
	return parsePage(room, request, reply)
}

// args returns the arguments of history.lua.
func (r historyRequest) args() []any {
	if r.hasSince {
		return []any{r.since.String(), r.count}
	}
	return []any{"", r.count}
}

func parsePage(room string, request historyRequest, reply any) (historyPage, error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return historyPage{}, errReply
	}
	newest, err1 := parseReplyID(parts[0])
	events, err2 := parseEvents(room, parts[1])
	if !request.hasSince {
		slices.Reverse(events)
	}
	return request.page(events, newest), errors.Join(err1, err2)
}

// snapshot is the reply of sync.lua.
type snapshot struct {
	newest  id
	missed  []*event
	version uint64
	epoch   string // changes when Redis has lost the members; empty if there are none
	entries map[string]Member
}

// syncCall returns a call of sync.lua for the current round.
func (r *redisRoom) syncCall() (round int, c *scriptCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := ""
	if r.synced {
		last = r.last.String()
	}
	args := []any{r.hub.publishCommand(), r.keys.channel, r.hub.membersTTL(), last, r.opts.History, 1}
	if r.opts.NoPresence {
		args[len(args)-1] = 0
	}
	for m := range r.memberships {
		if m.registered {
			args = append(args, m.entry, formatMember(m.member))
		}
	}
	return r.round, &scriptCall{keys: []string{r.keys.members, r.keys.stream}, args: args}
}

func (r *redisRoom) parseSnapshot(reply any) (s snapshot, err error) {
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
	s.newest, err1 = parseReplyID(parts[0])
	s.missed, err2 = parseEvents(r.room, parts[1])
	if r.opts.NoPresence {
		return s, errors.Join(err1, err2)
	}
	if v, ok := fields["v"]; ok {
		s.version, err3 = strconv.ParseUint(v, 10, 64)
	}
	s.epoch = fields["b"]
	s.entries = parseEntries(fields)
	return s, errors.Join(err1, err2, err3)
}

// parseEntries parses a room's hash of members. The result includes entries of
// dead servers. Invalid ones are ignored.
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

func parseReplyID(reply any) (id, error) {
	s, ok := reply.(string)
	if !ok {
		return id{}, errReply
	}
	return parseID(s)
}

// parseEvents parses entries of a stream, each an ID and a list of fields with
// their values.
func parseEvents(room string, reply any) ([]*event, error) {
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
		var sender, data string
		var errPrev, errSender error
		for i := 0; i+1 < len(fields); i += 2 {
			switch fields[i] {
			case "p":
				prev, errPrev = parseReplyID(fields[i+1])
			case "s":
				escaped, _ := fields[i+1].(string)
				sender, errSender = url.PathUnescape(escaped)
			case "d":
				data, _ = fields[i+1].(string)
			}
		}
		id, err := parseReplyID(pair[0])
		if err := errors.Join(err, errPrev, errSender); err != nil {
			return nil, fmt.Errorf("%w: %w", errReply, err)
		}
		events = append(events, newMessage(room, id, prev, sender, []byte(data)))
	}
	return events, nil
}

// scriptCall is a call of a script in a pipeline.
type scriptCall struct {
	keys []string
	args []any
	cmd  *redis.Cmd
}

// runAll runs several calls of a script in one pipeline. It returns the first
// error.
func runAll(ctx context.Context, client redis.UniversalClient, script *redis.Script, calls []*scriptCall) error {
	pipeline := func(calls []*scriptCall) error {
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
	// Redis forgets loaded scripts when it restarts.
	var unknown []*scriptCall
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
