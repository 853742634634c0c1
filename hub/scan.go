package hub

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// maxScans limits the HSCAN commands in one pipeline.
const maxScans = 4

// scan reads the members of a large room, a part at a time, so that Redis executes
// other commands in between.
type scan struct {
	room     *redisRoom
	round    int // of syncing
	snapshot snapshot
	cursor   uint64
}

// scanMembers reads one part for each of the scans.
func (m *maintainer) scanMembers(ctx context.Context) error {
	n := min(len(m.scans), maxScans)
	scans := m.scans[:n:n]
	m.scans = m.scans[n:]
	if len(scans) == 0 {
		return nil
	}
	replies := make([]*redis.ScanCmd, len(scans))
	_, err := m.hub.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, s := range scans {
			replies[i] = p.HScan(ctx, s.room.keys.members(), s.cursor, "", maxFields)
		}
		return nil
	})
	for i, s := range scans {
		fields, cursor, failed := replies[i].Result()
		if failed != nil {
			err = errors.Join(err, failed)
			m.syncAgain(s.room) // from the beginning
			continue
		}
		addFields(s.snapshot.entries, fields)
		if s.cursor = cursor; cursor == 0 {
			s.room.onSynced(s.round, s.snapshot)
		} else if s.room.inRound(s.round) {
			m.scans = append(m.scans, s)
		}
	}
	return err
}

// readMembers reads all members of a room with a number of commands. A member that
// moves to another server meanwhile may be missing.
func (h *redisHub) readMembers(ctx context.Context, key string) (map[string]Member, error) {
	entries := make(map[string]Member)
	for cursor := uint64(0); ; {
		fields, next, err := h.client.HScan(ctx, key, cursor, "", maxFields).Result()
		if err != nil {
			return nil, err
		}
		addFields(entries, fields)
		if cursor = next; cursor == 0 {
			return entries, nil
		}
	}
}

// addEntries schedules that entries are added again to a room's members, unless their
// memberships have ended. The caller holds the room's mutex.
func (m *maintainer) addEntries(r *redisRoom, entries []string) {
	if len(entries) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.additions[r] = append(m.additions[r], entries...)
	m.signal()
}

// addLostEntries adds the scheduled entries. It is called by the same goroutine as
// removeEntries. So if a membership ends afterwards, its entry is removed afterwards.
func (m *maintainer) addLostEntries(ctx context.Context) error {
	batches := m.takeEntries(m.additions)
	var calls []*scriptCall
	for _, b := range batches {
		args := []any{m.hub.publishCommand(), b.room.keys.channel, m.hub.membersTTL(), "", 0, pageBytes}
		if entries := b.room.lostEntries(b.entries); len(entries) > 0 {
			keys := []string{b.room.keys.members(), b.room.keys.stream()}
			calls = append(calls, &scriptCall{keys: keys, args: append(args, entries...)})
		}
	}
	if len(calls) == 0 {
		return nil
	}
	err := runAll(ctx, m.hub.client, joinScript, calls)
	if err != nil {
		m.putBack(m.additions, batches)
	}
	return err
}

// maxEntries is the number of entries that are added or removed in one call of a
// script.
const maxEntries = 100

// entryBatch is a part of the entries of a room that are to be added or removed.
type entryBatch struct {
	room    *redisRoom
	entries []string
}

// takeEntries removes up to maxPipeline batches from scheduled.
func (m *maintainer) takeEntries(scheduled map[*redisRoom][]string) (batches []entryBatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r, entries := range scheduled {
		for len(entries) > 0 && len(batches) < maxPipeline {
			n := min(len(entries), maxEntries)
			batches = append(batches, entryBatch{r, entries[:n:n]})
			entries = entries[n:]
		}
		if len(entries) > 0 {
			scheduled[r] = entries
			break
		}
		delete(scheduled, r)
	}
	return batches
}

func (m *maintainer) putBack(scheduled map[*redisRoom][]string, batches []entryBatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range batches {
		scheduled[b.room] = append(b.entries, scheduled[b.room]...)
	}
}
