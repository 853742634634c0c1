package top

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/holdfast-ws/holdfast/internal/testkit/golden"
	"github.com/holdfast-ws/holdfast/internal/tool/top/screen"
)

// picture is the screen as text, without styles, and where the cursor is.
func picture(d *driver) string {
	lines, x, y := d.draw()
	var b strings.Builder
	for i, line := range lines {
		line = strings.TrimRight(ansi.Strip(line), " ")
		if i == y && x >= 0 {
			line = screen.Charset{}.Left(line, d.width)
			line = strings.TrimRight(ansi.Cut(line, 0, x)+"█"+ansi.Cut(line, x+1, d.width), " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// What a user sees, after the keys that are given, in two sizes.
func TestGoldenScreens(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*driver, *fake)
	}{
		{"backends", func(d *driver, f *fake) {
			for i := range 30 {
				f.status.Rates.Opened = 5 + float64(i*i%13)/2
				f.status.Rates.Closed = float64(i*7%11) / 2
				f.status.Rates.Messages = 1500 + float64(i%9*60)
				d.pass(time.Second)
			}
			d.press("down", "down", "down", "down")
		}},
		{"backends_sorted", func(d *driver, _ *fake) { d.press("s", "s", "s", "s") }},
		{"backends_filtered", func(d *driver, _ *fake) { d.press("/", ":DOWN") }},
		{"backend", func(d *driver, _ *fake) { d.press("G", "up", "up", "enter") }},
		{"backend_drain", func(d *driver, f *fake) {
			d.press("down", "down", "down")
			f.status.Pools[0].Backends[2].Sessions = 30
			d.pass(time.Second)
			d.press("enter")
		}},
		{"pool", func(d *driver, _ *fake) { d.press("enter") }},
		{"drain_question", func(d *driver, _ *fake) { d.press("down", "d", ":90s") }},
		{"drain_last", func(d *driver, _ *fake) { d.press("G", "d") }},
		{"drained", func(d *driver, f *fake) {
			f.warnings = []string{"no backend of feed takes new sessions"}
			d.press("G", "d", "enter")
		}},
		{"sessions", func(d *driver, _ *fake) { d.press("2", "down") }},
		{"find", func(d *driver, _ *fake) { d.press("f", ":user-0815") }},
		{"close_question", func(d *driver, _ *fake) { d.press("f", ":user-0815", "ctrl+x", ":too loud") }},
		{"session", func(d *driver, _ *fake) { d.press("f", ":user-0815", "enter", "enter") }},
		{"nothing_found", func(d *driver, _ *fake) { d.press("f", ":nobody") }},
		{"causes", func(d *driver, f *fake) {
			for i := range 20 {
				old := f.status.Pools[0].Closes
				f.status.Pools[0].Closes = map[string]uint64{"client_closed": old["client_closed"] + uint64(i%7), "client_lost": 400, "backend_lost": 611 + uint64(max(i-10, 0)*3)}
				d.pass(time.Second)
			}
			d.press("3")
		}},
		{"cause", func(d *driver, _ *fake) { d.press("3", "enter") }},
		{"events", func(d *driver, _ *fake) { d.press("4") }},
		{"event", func(d *driver, _ *fake) { d.press("4", "down", "enter") }},
		{"help", func(d *driver, _ *fake) { d.press("?") }},
		{"no_answer", func(d *driver, f *fake) {
			f.err = fmt.Errorf("no balancer answers at /run/holdfast/admin.sock: the one that made the socket is gone")
			d.pass(time.Second)
			d.pass(12 * time.Second)
		}},
		{"started_again", func(d *driver, f *fake) {
			f.err = fmt.Errorf("no balancer answers")
			d.pass(time.Second)
			f.err, f.status.Started, f.status.Generation = nil, start.Add(2*time.Second), 1
			d.pass(2 * time.Second)
		}},
		{"stopped", func(d *driver, _ *fake) { d.press("space"); d.pass(time.Second) }},
		{"ascii", func(d *driver, f *fake) { d.charset.ASCII = true; d.pass(time.Second); d.press("s") }},
	} {
		for _, size := range []struct{ w, h int }{{80, 24}, {120, 40}} {
			name := fmt.Sprintf("%s_%dx%d", c.name, size.w, size.h)
			t.Run(name, func(t *testing.T) {
				f := example()
				d := drive(t, f, size.w, size.h)
				c.do(d, f)
				got := picture(d)
				file := filepath.Join("testdata", name+".txt")
				golden.Compare(t, file, got)
			})
		}
	}
}
