package health

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

func TestParseAgentReply(t *testing.T) {
	admin := func(a pool.Admin) *pool.Admin { return &a }
	for line, want := range map[string]agentReply{
		"":                            {},
		"75%":                         {hasPercent: true, percent: 75},
		"0%":                          {hasPercent: true},
		"250%":                        {hasPercent: true, percent: 100},
		"99999999999999999999999999%": {hasPercent: true, percent: 100},
		"up":                          {health: up},
		"UP\t,, 50%":                  {health: up, hasPercent: true, percent: 50},
		"up,ready,100%":               {health: up, admin: admin(pool.Ready), hasPercent: true, percent: 100},
		"down":                        {health: down},
		"Fail #disk is full, really":  {health: down, reason: "disk is full, really"},
		"stopped#by hand":             {health: down, reason: "by hand"},
		"drain maint":                 {admin: admin(pool.Maint)},
		"down up":                     {health: up},
		"maxconn:30":                  {},
		"maxconn:":                    {},
		"75":                          {unknown: "75"},
		"-5% 7.5%":                    {unknown: "-5%"},
		"% up":                        {health: up, unknown: "%"},
		"HTTP/1.1 400 Bad Request":    {unknown: "HTTP/1.1"},
	} {
		got := parseAgentReply(line)
		if (got.admin == nil) != (want.admin == nil) || got.admin != nil && *got.admin != *want.admin {
			t.Errorf("%q: admin %v, want %v", line, got.admin, want.admin)
		}
		got.admin, want.admin = nil, nil
		if got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}

func FuzzParseWords(f *testing.F) {
	for _, line := range []string{"75%", "up ready maxconn:3", "down#why", ",\t #", "drain,maint,ready 0%"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		w := parseAgentReply(line)
		if w.percent < 0 || w.percent > 100 || !w.hasPercent && w.percent != 0 {
			t.Errorf("%q: %+v", line, w)
		}
		// Words may come in any order, so a line sent twice has the same effect.
		said, _, _ := strings.Cut(line, "#")
		twice := parseAgentReply(said + " " + line)
		if twice.percent != w.percent || twice.health != w.health || twice.unknown != w.unknown || twice.reason != w.reason {
			t.Errorf("%q: %+v, twice %+v", line, w, twice)
		}
		s := newAgentState()
		s.apply(w)
		if s.capacity < minCapacity || s.capacity > 1 {
			t.Errorf("%q: capacity %v", line, s.capacity)
		}
	})
}

func TestReadLine(t *testing.T) {
	for text, want := range map[string]string{
		"up\n":                            "up",
		"up\r\n50%\n":                     "up",
		"\n":                              "",
		"75% ready\rrest":                 "75% ready",
		strings.Repeat("x", 255) + "\n":   strings.Repeat("x", 255),
		"":                                "error: it said nothing",
		"up":                              `error: its line "up" has no end`,
		strings.Repeat("x", 256) + "\n":   "error: its line is longer than 256 bytes",
		strings.Repeat("abc ", 1_000_000): "error: its line is longer than 256 bytes",
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			got, err := readLine(r, error.Error)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != want {
				t.Errorf("%.20q: %q, want %q", text, got, want)
			}
		}
	}
	if _, err := readLine(iotest.ErrReader(errors.New("reset")), error.Error); err == nil || err.Error() != "reset" {
		t.Errorf("error %v, want that of the connection", err)
	}
}

func TestParseLoad(t *testing.T) {
	bad := math.NaN()
	for text, want := range map[string]float64{
		"0": 0, "1": 1, "0.7": 0.7, ".5": 0.5, "1.0": 1, "70%": 0.7, "0%": 0, "100%": 1, " 33 % ": 0.33, "12.5%": 0.125,
		"": bad, "%": bad, ".": bad, "1.01": bad, "101%": bad, "-0.1": bad, "NaN": bad, "inf": bad, "0x1p-1": bad,
		"1e-3": bad, "0,7": bad, "0.7 0.8": bad, "70%%": bad, "high": bad, "1_0%": bad, "+1": bad,
	} {
		got, ok := parseLoad(text)
		if !ok {
			got = bad
		}
		if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-12 {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func FuzzParseLoad(f *testing.F) {
	for _, text := range []string{"0.7", "70%", "1e9", "%", "..", "0.0000000000000000000000000000001"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		load, ok := parseLoad(text)
		if ok && !(load >= 0 && load <= 1) {
			t.Errorf("%q is %v", text, load)
		}
		if percent, _ := parseLoad(text + "%"); ok && !strings.Contains(text, "%") && math.Abs(percent-load/100) > 1e-9 {
			t.Errorf("%q is %v, with %% %v", text, load, percent)
		}
	})
}
