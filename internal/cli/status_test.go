package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// TestStatus checks the output for a given response of the balancer.
func TestStatus(t *testing.T) {
	started := time.Date(2026, 5, 4, 3, 2, 1, 0, time.Local)
	ending := started.Add(time.Hour)
	drain := func(left time.Duration) *api.Drain {
		return &api.Drain{Since: started, Deadline: time.Now().Add(left)}
	}
	s := api.Status{Version: "v1", Started: started, Draining: true, DrainingSince: &ending, Pools: []api.Pool{{Name: "chat", LearnedKeys: 12, Backends: []api.Backend{
		{Name: "up", State: "up", Share: 1},
		{Name: "spare", State: "up", Share: 1, Backup: true, Reason: "it is up again"},
		{Name: "down", State: "down", Share: 1, Reason: "refused"},
		{Name: "draining", State: "drain", Share: 1, Sessions: 3, Reason: "asked for", Drain: drain(time.Hour + 400*time.Millisecond)},
		{Name: "late", State: "drain", Share: 1, Sessions: 3, Reason: "asked for", Drain: drain(-time.Minute)},
		{Name: "empty", State: "drain", Share: 1, Reason: "asked for", Drain: drain(time.Hour)},
		{Name: "silent", State: "removed", Share: 1, Sessions: 1, Drain: drain(-time.Minute)},
	}}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(s) }))
	defer server.Close()
	show := func() string {
		var out bytes.Buffer
		c := statusCommand{adminFlag{Admin: strings.TrimPrefix(server.URL, "http://")}}
		if err := c.Run(&environment{out: &out, ctx: context.Background()}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	shown := show()
	for name, want := range map[string]string{
		"holdfast": "v1, shutting down since 2026-05-04 04:02:01, running since 2026-05-04 03:02:01",
		"up":       "0", "chat": "12 keys have a backend", "spare": "up (backup)  0       0         it is up again", "down": "refused", "draining": "asked for; 1h0m0s left", "late": "asked for; time is up, closing the rest",
		"empty": "asked for; empty", "silent": "time is up, closing the rest",
	} {
		found := false
		for line := range strings.Lines(shown) {
			f := strings.Fields(line)
			if len(f) > 1 && (f[0] == name || f[1] == name) {
				line = strings.TrimRight(line, " \n")
				found = strings.HasSuffix(line, want) || name == "holdfast" && strings.Contains(line, want)
			}
		}
		if !found {
			t.Errorf("%s: want %q in\n%s", name, want, shown)
		}
	}
	s.Draining, s.DrainingSince = false, nil
	if shown := show(); !strings.Contains(shown, "v1, running since 2026-05-04 03:02:01, configuration") {
		t.Errorf("running:\n%s", shown)
	}
}
