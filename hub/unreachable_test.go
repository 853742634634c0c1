package hub_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

func TestReady(t *testing.T) {
	forEachKind(t, func(t *testing.T, k hubKind) {
		a, _ := k.newHubs(t, hub.Options{})
		if err := a.Ready(longContext(t)); err != nil {
			t.Fatal(err)
		}
		if !a.Stats().Connected {
			t.Error("the hub is ready but not connected")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Ready(ended); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.Ready(longContext(t)); !errors.Is(err, hub.ErrClosed) {
			t.Errorf("after Close: got %v, want ErrClosed", err)
		}
	})
}

// The errors say why Redis can't be used.
func TestCauseOfUnavailable(t *testing.T) {
	t.Parallel()
	secured := startRedis(t)
	c := secured.client()
	defer c.Close()
	if err := c.ConfigSet(t.Context(), "requirepass", "secret").Err(); err != nil {
		t.Fatal(err)
	}
	stopped := startRedis(t)
	stopped.kill()
	for _, tt := range []struct {
		name, url string
		isCause   func(error) bool
	}{
		{"no server", stopped.url(), func(err error) bool { return errors.As(err, new(*net.OpError)) }},
		{"no password", secured.url(), func(err error) bool { return strings.Contains(err.Error(), "NOAUTH") }},
		{"wrong password", strings.Replace(secured.url(), "unix://", "unix://user:wrong@", 1),
			func(err error) bool { return strings.Contains(err.Error(), "WRONGPASS") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// With this Timeout, Join would never return if it waited for more
			// than an attempt to connect.
			h := openHub(t, hub.RedisOptions{URL: tt.url, Timeout: time.Hour})
			_, err := h.Join(longContext(t), "room", hub.Member{ID: "ann"}, hub.JoinOptions{})
			if !errors.Is(err, hub.ErrUnavailable) || !tt.isCause(err) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("join: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			err = h.Ready(ctx)
			if !errors.Is(err, hub.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || !tt.isCause(err) {
				t.Errorf("ready: %v", err)
			}
		})
	}
}

func TestJoinFailsAtOnceInAnOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	h := s.hub(hub.RedisOptions{Timeout: time.Hour})
	join(t, h, "room", "ann", hub.JoinOptions{})
	s.kill()
	for _, room := range []string{"room", "another room"} {
		_, err := h.Join(longContext(t), room, hub.Member{ID: "bob"}, hub.JoinOptions{})
		if !errors.Is(err, hub.ErrUnavailable) || !errors.As(err, new(*net.OpError)) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", room, err)
		}
	}
	s.start()
	if err := h.Ready(longContext(t)); err != nil {
		t.Fatal(err)
	}
	join(t, h, "room", "bob", hub.JoinOptions{})
}

// The connection works, but a room can't be read.
func TestCauseOfAFailedSync(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	c := s.client()
	defer c.Close()
	if err := c.Set(t.Context(), "holdfast:{room}:m", "not a hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	h := s.hub(hub.RedisOptions{Timeout: 3 * time.Second})
	_, err := h.Join(longContext(t), "room", hub.Member{ID: "ann"}, hub.JoinOptions{})
	if !errors.Is(err, hub.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("got %v", err)
	}
	join(t, h, "another room", "ann", hub.JoinOptions{})
}
