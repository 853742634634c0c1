package top

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// ago is how long ago something was.
func (m *model) ago(t time.Time) string { return screen.Duration(m.now().Sub(t)) + " ago" }

// limited is a number of sessions, and its limit if there is one.
func limited(n, limit int) string {
	if limit > 0 {
		return fmt.Sprintf("%d of %d", n, limit)
	}
	return fmt.Sprint(n)
}

// prefixed is a text with something before it, "" without a text.
func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

func traffic(t api.Traffic) string {
	return fmt.Sprintf("%s, %s", count64(t.Messages, "message"), screen.Bytes(t.Bytes))
}

func count(n int, thing string) string { return count64(uint64(max(n, 0)), thing) }

func count64(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// isGone reports whether the balancer says that something doesn't exist.
func isGone(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Status == http.StatusNotFound
}
