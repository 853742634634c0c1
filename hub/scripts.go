package hub

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
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
	args := []any{r.hub.publishCommand(), r.keys.channel, r.hub.membersTTL()}
	args = append(args, request.args()...)
	args = append(args, m.entry, formatMember(m.member))
	reply, err := joinScript.Run(ctx, r.hub.client, []string{r.keys.members(), r.keys.stream()}, args...).Result()
	if err != nil {
		return historyPage{}, err
	}
	return parsePage(r.room, request, reply)
}

// readHistory runs history.lua, which reads the requested part of a room's history.
func (h *redisHub) readHistory(ctx context.Context, room string, request historyRequest) (historyPage, error) {
	k := keysOf(h.opts.Prefix, room)
	reply, err := historyScript.Run(ctx, h.client, []string{k.stream()}, request.args()...).Result()
	if err != nil {
		return historyPage{}, err
	}
	return parsePage(room, request, reply)
}

// args returns the arguments of history.lua.
func (r historyRequest) args() []any {
	if r.hasSince {
		return []any{r.since.String(), r.count, pageBytes}
	}
	return []any{"", r.count, pageBytes}
}

func parsePage(room string, request historyRequest, reply any) (historyPage, error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2 {
		return historyPage{}, errReply
	}
	newest, err1 := parseReplyID(parts[0])
	events, err2 := parseEvents(room, parts[1])
	return request.page(events, newest), errors.Join(err1, err2)
}

// snapshot is the reply of sync.lua. If scan is set, entries must still be read with
// HSCAN, because there are too many.
type snapshot struct {
	newest  id
	missed  []*event // a page
	version uint64   // zero if nobody is present
	epoch   string   // changes when Redis has lost the members; empty if nobody is present
	entries map[string]Member
	scan    bool
}

// maxFields is the number of fields of a hash of members that are read at once. Redis
// executes no other command meanwhile.
const maxFields = 500

// syncCall returns a call of sync.lua for the current round.
func (r *redisRoom) syncCall() (round int, c *scriptCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, limit := "", maxFields
	if r.synced {
		last = r.last.String()
	}
	if r.opts.NoPresence {
		limit = -1
	}
	return r.round, &scriptCall{
		keys: []string{r.keys.members(), r.keys.stream(), r.keys.keys()},
		args: []any{r.hub.membersTTL(), longer(r.opts.HistoryTTL).Milliseconds(), last, pageBytes, limit},
	}
}

func (r *redisRoom) parseSnapshot(reply any) (s snapshot, err error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 6 {
		return s, errReply
	}
	size, ok1 := parts[2].(int64)
	version, ok2 := parts[3].(string)
	epoch, ok3 := parts[4].(string)
	flat, ok4 := parts[5].([]any)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return s, errReply
	}
	fields := make([]string, len(flat))
	for i := range flat {
		if fields[i], ok = flat[i].(string); !ok {
			return s, errReply
		}
	}
	var err1, err2, err3 error
	s.newest, err1 = parseReplyID(parts[0])
	s.missed, err2 = parseEvents(r.room, parts[1])
	s.version, err3 = strconv.ParseUint(version, 10, 64)
	s.epoch = epoch
	s.scan = int(size) > len(fields)/2
	s.entries = make(map[string]Member, size)
	addFields(s.entries, fields)
	return s, errors.Join(err1, err2, err3)
}

// addFields adds fields of a room's hash of members, which are names and values in
// turn. Entries may be those of dead servers. Invalid ones are ignored.
func addFields(entries map[string]Member, fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "b" || fields[i] == "v" {
			continue
		}
		if m, err := parseMember(fields[i+1]); err == nil {
			entries[fields[i]] = m
		}
	}
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
