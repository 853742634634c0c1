package overload

import (
	"strings"
	"testing"
)

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
