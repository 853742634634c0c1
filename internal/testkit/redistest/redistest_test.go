//go:build unix

package redistest

import (
	"context"
	"testing"
	"time"
)

func TestRestart(t *testing.T) {
	s := Start(t, "--appendonly", "yes")
	c := s.Client()
	defer c.Close()
	ctx := context.Background()
	if err := c.Set(ctx, "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart(t, time.Millisecond)
	if got, err := c.Get(ctx, "key").Result(); err != nil || got != "value" {
		t.Errorf("got %q, %v after the restart", got, err)
	}
	if s.ProcessorTime(t) < 0 {
		t.Error("the processor time is negative")
	}
}
