package overload

import (
	"strings"
	"testing"
)

func TestSpare(t *testing.T) {
	for _, c := range []struct{ nofile, sessions, spare int }{
		{64, 1, 16}, {200, 68, 16}, {1024, 480, 16}, {8192, 3840, 128}, {1 << 20, 523776, 256},
	} {
		sessions, spare := FromDescriptors(c.nofile).MaxSessions, spare(c.nofile)
		if sessions != c.sessions || spare != c.spare {
			t.Errorf("%d files: %d sessions and %d connections that are refused, want %d and %d", c.nofile, sessions, spare, c.sessions, c.spare)
		}
		if left := c.nofile - 2*sessions - spare; left < 40 {
			t.Errorf("%d files: %d are left for everything else", c.nofile, left)
		}
	}
	if n := Within(1 << 30); n != FromDescriptors(descriptorLimit()).MaxSessions || Within(0) != 0 || Within(1) != 1 {
		t.Errorf("of as many as possible, %d are allowed", n)
	}
}

func TestShortage(t *testing.T) {
	for _, c := range []struct {
		nofile, maxSessions int
		want                string
	}{
		{64, 0, "the limit of open files is 64, which allows 1 session: raise it"},
		{256, 0, "the limit of open files is 256, which allows 96 sessions: raise it"},
		{1024, 0, "allows 480 sessions"},
		{2200, 0, ""},
		{1 << 20, 0, ""},
		{1024, 100, ""},
		{1024, 480, ""},
		{1024, 481, "limits.max_sessions is 481, but the limit of open files, 1024, is enough for 480 sessions: raise it"},
	} {
		if got := shortage(c.nofile, c.maxSessions); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%d descriptors, max_sessions %d: %q, want %q", c.nofile, c.maxSessions, got, c.want)
		}
	}
}
