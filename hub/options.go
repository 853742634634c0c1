package hub

import (
	"fmt"
	"time"
)

// Limits in bytes. They keep the names of Redis keys below 1 KiB.
const (
	maxName       = 256
	maxMemberData = 1 << 10
)

// Policy decides what happens when a member's queue is full.
type Policy uint8

const (
	// CloseSlow, the default, ends the membership with ErrSlow. The server
	// should then close the connection with status 1013; when the client
	// reconnects with Since, it gets what it missed.
	CloseSlow Policy = iota
	// DropOldest drops the oldest events and puts a Gap in their place.
	DropOldest
)

// Options are the options common to Memory and Redis. A zero value selects the
// default.
type Options struct {
	// History is the number of messages that a room keeps. Default: 500.
	History int
	// HistoryTTL is how long a room without members keeps its history after
	// the last message. Default: 24 hours.
	HistoryTTL time.Duration
	// Queue is the number of events that may wait until a member reads them.
	// The history that a member asked for, and messages caught up after an
	// outage of Redis, don't count. Default: 256.
	Queue int
	// Policy decides what happens when the queue is full. Default: CloseSlow.
	Policy Policy
	// MaxData is the maximum size of a message or notice, in bytes. Default:
	// 64 KiB.
	MaxData int
	// MaxRooms is the maximum number of rooms with members on this server. For
	// Memory it also counts rooms without members that still have a history.
	// Default: 100,000.
	MaxRooms int
}

func (o Options) withDefaults() Options {
	setDefault(&o.History, 500)
	setDefault(&o.HistoryTTL, 24*time.Hour)
	setDefault(&o.Queue, 256)
	setDefault(&o.MaxData, 64<<10)
	setDefault(&o.MaxRooms, 100_000)
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

func checkRoom(room string) error { return checkName("room name", room) }

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: %s is empty", ErrInvalid, what)
	case len(name) > maxName:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrTooLarge, what, len(name), maxName)
	}
	return nil
}

func (o Options) checkData(data []byte) error {
	if len(data) > o.MaxData {
		return fmt.Errorf("%w: data has %d bytes, the limit is %d", ErrTooLarge, len(data), o.MaxData)
	}
	return nil
}

// checkJoin validates the arguments of Join and returns which part of the
// history they ask for.
func (o Options) checkJoin(room string, m Member, j JoinOptions) (historyRequest, error) {
	if err := checkRoom(room); err != nil {
		return historyRequest{}, err
	}
	if err := checkName("member ID", m.ID); err != nil {
		return historyRequest{}, err
	}
	if len(m.Data) > maxMemberData {
		return historyRequest{}, fmt.Errorf("%w: member data has %d bytes, the limit is %d", ErrTooLarge, len(m.Data), maxMemberData)
	}
	if j.Since == "" {
		return historyRequest{count: min(max(j.History, 0), o.History)}, nil
	}
	since, err := parseID(j.Since)
	if err != nil {
		return historyRequest{}, fmt.Errorf("%w: since: %w", ErrInvalid, err)
	}
	return historyRequest{hasSince: true, since: since}, nil
}
