package session_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
)

func TestIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := session.ID(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "id"))
		s := id.String()
		if !regexp.MustCompile(`^[0-9A-V]{20}$`).MatchString(s) {
			t.Fatalf("%q is not 20 characters of 0-9 and A-V", s)
		}
		if got, err := session.ParseID(s); err != nil || got != id {
			t.Fatalf("ParseID(%q) = %x, %v; want %x", s, got, err, id)
		}
	})
}

func TestParseIDRefuses(t *testing.T) {
	good := session.NewID().String()
	for _, s := range []string{"", "0", good[:19], good + "0", good + "00", "W" + good[1:], good[:10] + "\n" + good[10:],
		good + "\n", strings.Repeat("v", 20), " " + good[1:]} {
		if id, err := session.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v", s, id)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("ParseID(%q) says %q", s, err)
		}
	}
}

// FuzzParseID: only what String returns is accepted, so that each ID has one
// spelling.
func FuzzParseID(f *testing.F) {
	f.Add("00000000000000000000")
	f.Add("VVVVVVVVVVVVVVVVVVVG")
	f.Add("VVVVVVVVVVVVVVVVVVVV")
	f.Add("0000000000\n0000000000")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := session.ParseID(s); err == nil && id.String() != s {
			t.Fatalf("ParseID(%q) is %s", s, id)
		}
	})
}

func TestNewIDsDiffer(t *testing.T) {
	seen := map[session.ID]bool{}
	for range 1000 {
		seen[session.NewID()] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 ids differ", len(seen))
	}
}

// TestCauses: each has its own word, which is a valid label.
func TestCauses(t *testing.T) {
	all := session.Causes()
	seen := map[string]session.Cause{}
	for i, c := range all {
		if c == session.None || int(c) != i+1 {
			t.Errorf("cause %d of the list is %d", i, c)
		}
		word := c.String()
		if other, twice := seen[word]; twice {
			t.Errorf("%d and %d are both %q", c, other, word)
		}
		if seen[word] = c; !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(word) {
			t.Errorf("cause %d is %q", c, word)
		}
	}
	if last := all[len(all)-1]; last != session.Shutdown || (last+1).String() != "cause(22)" {
		t.Errorf("the last is %s, and after it comes %s", last, last+1)
	}
	if s := session.None.String(); s != "none" {
		t.Errorf("no cause is %q", s)
	}
}

func TestSides(t *testing.T) {
	if session.Client.Other() != session.Backend || session.Backend.Other() != session.Client {
		t.Error("Other is not the other")
	}
	if s := session.Client.String() + " " + session.Backend.String(); s != "client backend" {
		t.Errorf("they are %q", s)
	}
}

func TestNames(t *testing.T) {
	var n session.Names
	if w := n.Word(7); w != "" {
		t.Errorf("a number that was never given is %q", w)
	}
	if i := n.Number(""); i != 0 {
		t.Errorf(`"" has the number %d`, i)
	}
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for i := range 100 {
				word := fmt.Sprint("word ", i)
				number := n.Number(word)
				if number == 0 || number > 100 || n.Number(word) != number || n.Word(number) != word {
					t.Errorf("%q has the number %d, which is %q", word, number, n.Word(number))
				}
			}
		})
	}
	work.Wait()
	if w := n.Word(101); w != "" {
		t.Errorf("number 101 is %q", w)
	}
}

// TestNamesAreBounded: however many words come, known ones keep their numbers, and the
// memory has an end.
func TestNamesAreBounded(t *testing.T) {
	var n session.Names
	first := n.Number("first")
	long := strings.Repeat("x", 1<<20)
	for i := range 100 {
		n.Number(fmt.Sprint(long, i))
	}
	last := n.Number("last")
	if n.Word(last) != session.Others || n.Number("another") != last || n.Number("first") != first || n.Word(first) != "first" {
		t.Errorf("the last word is %q", n.Word(last))
	}
	if last > 20 {
		t.Errorf("%d words of 1 MiB are kept", last)
	}
}
