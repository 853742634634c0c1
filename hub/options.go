package hub

import (
	"cmp"
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
	// NoPresence switches presence off: who is in a room isn't recorded, Members
	// returns ErrNoPresence, and there are no Joined and Left events. Then
	// joining and leaving write nothing to Redis.
	NoPresence bool
	// Room returns the options of a room. It is called with the room's name and
	// the options above. It must always return the same for the same room, on all
	// servers, and be quick. Default: all rooms have the options above.
	Room func(room string, o RoomOptions) RoomOptions
	// Encode encodes an event for clients, for example as JSON. Next and HistoryOf
	// return the result in Event.Encoded. It is called once for an event, however
	// many members on this server get it, when the first of them reads it. Only a
	// Gap and Entered, and with Redis the messages that are read from the history,
	// are encoded each time. Several goroutines may call it at once. Default: no
	// encoding.
	Encode func(Event) []byte
	// MaxData is the maximum size of a message or notice, in bytes. Default:
	// 64 KiB.
	MaxData int
	// MaxRooms is the maximum number of rooms with members on this server. For
	// Memory it also counts rooms without members that still have a history.
	// Default: 100,000.
	MaxRooms int
}

// RoomOptions are those of Options that can be different for each room. A zero
// or negative number, or a HistoryTTL of less than a second, selects the value of
// the hub's Options.
type RoomOptions struct {
	History    int
	HistoryTTL time.Duration
	Queue      int
	Policy     Policy
	NoPresence bool
}

func (o Options) withDefaults() Options {
	setDefault(&o.History, 500)
	setDefault(&o.HistoryTTL, 24*time.Hour)
	setDefault(&o.Queue, 256)
	setDefault(&o.MaxData, 64<<10)
	setDefault(&o.MaxRooms, 100_000)
	return o
}

// room returns the options of a room.
func (o Options) room(name string) RoomOptions {
	all := RoomOptions{
		History: o.History, HistoryTTL: o.HistoryTTL, Queue: o.Queue, Policy: o.Policy, NoPresence: o.NoPresence,
	}
	if o.Room == nil {
		return all
	}
	one := o.Room(name, all)
	setDefault(&one.History, all.History)
	setDefault(&one.Queue, all.Queue)
	if one.HistoryTTL < time.Second {
		one.HistoryTTL = all.HistoryTTL
	}
	return one
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

func checkMember(m Member) error {
	if len(m.Data) > maxMemberData {
		return fmt.Errorf("%w: member data has %d bytes, the limit is %d", ErrTooLarge, len(m.Data), maxMemberData)
	}
	return checkName("member ID", m.ID)
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
	if err := checkMember(m); err != nil {
		return historyRequest{}, err
	}
	if j.Since != "" {
		return newHistoryRequest(j.Since, maxCount)
	}
	return newHistoryRequest("", min(max(j.History, 0), o.room(room).History))
}

// checkPublish validates the arguments of PublishWith.
func (o Options) checkPublish(room string, data []byte, p PublishOptions) error {
	err := cmp.Or(checkRoom(room), o.checkData(data))
	if err == nil && p.Key != "" {
		err = checkName("key", p.Key)
	}
	if err == nil && p.Sender != "" {
		err = checkName("sender", p.Sender)
	}
	return err
}

// checkHistory validates the arguments of HistoryOf and returns which part of the
// history they ask for.
func (o Options) checkHistory(room, since string, limit int) (historyRequest, error) {
	if err := checkRoom(room); err != nil {
		return historyRequest{}, err
	}
	if limit < 1 {
		return historyRequest{}, fmt.Errorf("%w: the limit of the history is %d, the minimum is 1", ErrInvalid, limit)
	}
	return newHistoryRequest(since, min(limit, o.room(room).History))
}
