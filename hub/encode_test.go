package hub_test

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/hub"
)

// An event is encoded once for all members on a server.
func TestEncode(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		var calls atomic.Int32
		a, b := k.newHubs(t, hub.Options{Encode: func(e hub.Event) []byte {
			calls.Add(1)
			return []byte("encoded " + describe(e))
		}})
		check := func(m *hub.Membership, want string) []byte {
			t.Helper()
			e := next(t, m)
			if string(e.Encoded) != "encoded "+want {
				t.Errorf("%s is encoded as %q", describe(e), e.Encoded)
			}
			return e.Encoded
		}
		var members []*hub.Membership
		for i := range 50 {
			members = append(members, join(t, a, "room", strconv.Itoa(i), hub.JoinOptions{Observer: true, Presence: i < 2}))
		}
		publish(t, b, "room", "hello")
		first := check(members[0], "hello")
		for _, m := range members[1:] {
			if got := check(m, "hello"); &got[0] != &first[0] {
				t.Fatal("members don't share the encoded message")
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("the message was encoded %d times", n)
		}
		ann := join(t, b, "room", "ann", hub.JoinOptions{History: 1})
		check(ann, "hello")
		one, two := check(members[0], "joined ann"), check(members[1], "joined ann")
		if !bytes.Equal(one, two) || &one[0] != &two[0] {
			t.Error("members don't share the encoded presence event")
		}
	})
}
