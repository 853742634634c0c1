package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// hostile draws texts as a client could choose them to take over a terminal.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"\x1b[2J\x1b[H", "\x1b]0;title\a", "\x1b]52;c;cm0gLXJmIC8=\x1b\\", "\x9b31m", "\u202egnp.exe", "a\r\nb", "\x00\x7f\u0085",
		"日本語の名前がここにある", "e\u0301\u0301\u0301\u0301\u0301", "👩‍👩‍👧‍👦", "\xff\xfe", strings.Repeat("wide ", 500), "", "🇩🇪🇩🇪", "नमस्ते",
	}))
}

// A view of any size, with any data, never panics, whatever keys are pressed, and draws as
// many lines as the terminal has, none of them wider than it, with no control characters
// but those of styles.
func TestAnyKeys(t *testing.T) {
	var keys []string
	for i := range bindings {
		keys = append(keys, bindings[i].keys...)
	}
	keys = append(keys, "left", "right", "home", "end", "delete", "backspace", "ctrl+u", "ctrl+w", "a", "=", "/", "0")
	rapid.Check(t, func(rt *rapid.T) {
		f := example()
		f.sessions = f.sessions[:rapid.IntRange(0, 5).Draw(rt, "sessions")]
		f.pageMax = rapid.IntRange(0, 2).Draw(rt, "pageMax")
		word := func(name string) string { return hostile().Draw(rt, name) }
		for i := range f.sessions {
			s := &f.sessions[i]
			s.Client, s.Route, s.Claims = word("client"), word("route"), map[string]string{word("claim"): word("value")}
		}
		f.status.Version, f.status.ConfigFile = word("version"), word("file")
		b := &f.status.Pools[0].Backends[rapid.IntRange(0, 3).Draw(rt, "backend")]
		b.Name, b.State, b.Reason, b.Address, b.Closes = word("name"), word("state"), word("reason"), word("address"), map[string]uint64{word("cause"): 3}
		b.Sessions, b.Share = rapid.Int().Draw(rt, "n"), rapid.Float64().Draw(rt, "share")
		b.Rates = api.Rates{Opened: rapid.Float64().Draw(rt, "rate"), Messages: rapid.Float64().Draw(rt, "messages")}
		f.events[1].Message, f.events[1].Backend, f.events[1].Detail = word("message"), word("where"), map[string]any{word("key"): word("detail")}
		d := drive(t, f, rapid.IntRange(0, 200).Draw(rt, "width"), rapid.IntRange(0, 60).Draw(rt, "height"))
		d.charset.ASCII = rapid.Bool().Draw(rt, "ascii")
		checkScreen(rt, d)
		for range rapid.IntRange(0, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 12).Draw(rt, "step") {
			case 0:
				d.run(d.update(tea.WindowSizeMsg{Width: rapid.IntRange(0, 200).Draw(rt, "width"), Height: rapid.IntRange(0, 60).Draw(rt, "height")}))
			case 1:
				d.pass(time.Duration(rapid.IntRange(0, 30_000).Draw(rt, "ms")) * time.Millisecond)
			case 2:
				d.run(d.update(tea.PasteMsg{Content: word("paste")}))
			case 3:
				f.err = nil
				if rapid.Bool().Draw(rt, "fails") {
					f.err = errors.New(word("error"))
				}
			case 4:
				f.sessions = f.sessions[min(1, len(f.sessions)):]
				f.status.Pools = f.status.Pools[:rapid.IntRange(0, len(f.status.Pools)).Draw(rt, "pools")]
			case 5:
				d.run(d.update(tea.KeyPressMsg{Code: 'x', Text: word("typed")}))
			default:
				if k := rapid.SampledFrom(keys).Draw(rt, "key"); k != "ctrl+z" && !strings.HasPrefix(k, "shift+") {
					d.press(k)
				}
			}
			checkScreen(rt, d)
		}
	})
}

func checkScreen(t *rapid.T, d *driver) {
	lines, x, y := d.draw()
	if len(lines) != d.height {
		t.Fatalf("%d lines on a screen of %d:\n%q", len(lines), d.height, lines)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > d.width {
			t.Fatalf("a line of %d columns on a screen of %d: %q", w, d.width, line)
		}
		rest := line
		for { // styles are ESC [ digits m
			before, after, found := strings.Cut(rest, "\x1b[")
			checkPlain(t, before)
			if !found {
				break
			}
			code, more, ok := strings.Cut(after, "m")
			if !ok || strings.Trim(code, "0123456789;") != "" {
				t.Fatalf("a control sequence that is no style: %q", line)
			}
			rest = more
		}
	}
	if x >= 0 && (x >= d.width || y < 0 || y >= d.height) {
		t.Fatalf("the cursor at %d,%d is not on a screen of %dx%d", x, y, d.width, d.height)
	}
}

func checkPlain(t *rapid.T, text string) {
	for i, r := range text {
		if !unicode.IsPrint(r) {
			t.Fatalf("%q has %U at %d", text, r, i)
		}
	}
}

// What reaches the terminal, for texts that try to control it.
func TestHostileTexts(t *testing.T) {
	f := example()
	f.sessions = f.sessions[:1]
	f.sessions[0].Client, f.sessions[0].Claims = "\x1b[2J1.2.3.4", map[string]string{"sub": "\u202eevil\x9b1m"}
	f.status.Pools[0].Backends[3].Reason = "refused\x1b]0;owned\a"
	d := drive(t, f, 140, 24)
	d.press("G", "up", "up")
	if got := picture(d); !strings.Contains(got, `refused\x1b]0;owned\a`) {
		t.Errorf("the reason isn't shown harmless:\n%s", got)
	}
	d.press("2")
	for _, want := range []string{`\x1b[2J1.2.3.4`, `sub=\u202eevil\x9b1m`} {
		if got := picture(d); !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	d.press("x")
	if got := picture(d); !strings.Contains(got, fmt.Sprintf("Close session %s of %s (%s)", f.sessions[0].ID, `\x1b[2J1.2.3.4`, `sub=\u202eevil\x9b1m`)) {
		t.Errorf("the question isn't harmless:\n%s", got)
	}
}
