package hub

import (
	"fmt"
	"time"
)

// Bounds on what users may name and send. They keep a key in Redis below 1 KiB
// and a list of members readable.
const (
	maxName       = 256
	maxMemberData = 1 << 10
)

// Policy says what happens to a member whose queue is full.
type Policy uint8

const (
	// CloseSlow ends the membership with ErrSlow; its handler closes the
	// connection with 1013, and the client comes back with Since and gets
	// what it missed. The default.
	CloseSlow Policy = iota
	// DropOldest drops what has waited longest and puts a Gap in its place.
	DropOldest
)

// Options are what Memory and Redis have in common. Zero values stand for the
// defaults.
type Options struct {
	// History is how many messages a room keeps. 500.
	History int
	// HistoryTTL is how long they are kept after the last message when
	// nobody is in the room. 24 h.
	HistoryTTL time.Duration
	// Queue is how many events may wait for a member to read them. What comes
	// in one piece, the history or what is caught up after Redis was away, may
	// stand over it. 256.
	Queue int
	// Policy is what happens when more would wait. CloseSlow.
	Policy Policy
	// MaxData bounds a message or notice, in bytes. 64 KiB.
	MaxData int
	// MaxRooms bounds the rooms that have members on this server; in Memory,
	// all rooms that have members or a history. 100,000.
	MaxRooms int
}

func (o Options) withDefaults() Options {
	set(&o.History, 500)
	set(&o.HistoryTTL, 24*time.Hour)
	set(&o.Queue, 256)
	set(&o.MaxData, 64<<10)
	set(&o.MaxRooms, 100_000)
	return o
}

func set[T int | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

func checkRoom(room string) error { return checkName("room name", room) }

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: %s is empty", ErrInvalid, what)
	case len(name) > maxName:
		return fmt.Errorf("%w: %s of %d bytes, %d at most", ErrTooLarge, what, len(name), maxName)
	}
	return nil
}

func (o Options) checkData(data []byte) error {
	if len(data) > o.MaxData {
		return fmt.Errorf("%w: data of %d bytes, %d at most", ErrTooLarge, len(data), o.MaxData)
	}
	return nil
}

func (o Options) checkJoin(room string, m Member, j JoinOptions) (resume, error) {
	if err := checkRoom(room); err != nil {
		return resume{}, err
	}
	if err := checkName("member ID", m.ID); err != nil {
		return resume{}, err
	}
	if len(m.Data) > maxMemberData {
		return resume{}, fmt.Errorf("%w: member data of %d bytes, %d at most", ErrTooLarge, len(m.Data), maxMemberData)
	}
	if j.Since == "" {
		return resume{count: min(max(j.History, 0), o.History)}, nil
	}
	since, err := parseID(j.Since)
	if err != nil {
		return resume{}, fmt.Errorf("%w: since: %w", ErrInvalid, err)
	}
	return resume{given: true, since: since}, nil
}
