package app_test

import (
	"context"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// TestConfigWithoutFile runs a configuration that a program has built from the
// defaults; nothing of it was ever text.
func TestConfigWithoutFile(t *testing.T) {
	r := &running{t: t, log: &testkit.Log{}}
	var err error
	r.App, err = app.Start(app.Options{LogTo: r.log, Load: func() (*config.Config, error) {
		c := config.Defaults()
		c.Engine = "portable"
		c.Listeners = []config.Listener{{Address: hostport.MustParse("127.0.0.1:0")}}
		c.Pools = []config.Pool{config.NewPool("chat", config.Backend{Name: "one", Address: hostport.MustParse(backend(t, "one"))})}
		return &c, c.Validate()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Shutdown(context.Background()) })
	r.open("/").echo("x", "one: x")
	if _, err := r.Reload(); err == nil || !strings.Contains(err.Error(), "no file to reload") {
		t.Errorf("reload: %v", err)
	}
}
