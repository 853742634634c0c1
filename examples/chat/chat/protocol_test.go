package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWhoIsBounded(t *testing.T) {
	long := strings.Repeat("ß", maxName)
	tests := []struct {
		what    string
		in, out Who
		err     string
	}{
		{"as it should be", Who{"m", "Ann", "lobby"}, Who{"m", "Ann", "lobby"}, ""},
		{"the longest", Who{strings.Repeat("m", maxMember), long, long}, Who{strings.Repeat("m", maxMember), long, long}, ""},
		{"no name", Who{"m", "", "lobby"}, Who{"m", "somebody", "lobby"}, ""},
		{"a name of controls", Who{"m", "\x1b\n\x00 \u0085", "lobby"}, Who{"m", "somebody", "lobby"}, ""},
		{"space and controls", Who{"m", " A\nn\x00n ", "\tlob\x7fby "}, Who{"m", "Ann", "lobby"}, ""},
		{"no member", Who{"", "Ann", "lobby"}, Who{}, "a member's ID has 1 to 64 bytes"},
		{"a long member", Who{strings.Repeat("m", maxMember+1), "Ann", "lobby"}, Who{}, "a member's ID has 1 to 64 bytes"},
		{"no room", Who{"m", "Ann", " \n "}, Who{}, "a room has a name"},
		{"a long room", Who{"m", "Ann", long + "ß"}, Who{}, "a room's name has 32 characters at most"},
		{"a long name", Who{"m", long + "ß", "lobby"}, Who{}, "a name has 32 characters at most"},
	}
	for _, test := range tests {
		got, err := test.in.clean()
		if test.err != "" {
			if err == nil || err.Error() != test.err {
				t.Errorf("%s: %v, want %s", test.what, err, test.err)
			}
		} else if err != nil || got != test.out {
			t.Errorf("%s: %+v %v, want %+v", test.what, got, err, test.out)
		}
	}
}

func TestTextIsBounded(t *testing.T) {
	long := strings.Repeat("ß", maxText)
	tests := []struct {
		what, key, in, out, err string
	}{
		{"as it should be", "k", "hello", "hello", ""},
		{"two lines", "k", "\n one\n\ttwo\r\n", "one\n\ttwo", ""},
		{"controls", "k", "\x1b[31mred\x00", "[31mred", ""},
		{"what looks like HTML", "k", "<b>&amp;</b>", "<b>&amp;</b>", ""},
		{"the longest", strings.Repeat("k", maxKey), long, long, ""},
		{"too long", "k", long + "ß", "", "a message has 2000 characters at most"},
		{"empty", "k", " \n\x00 ", "", "the message is empty"},
		{"no key", "", "hello", "", "the key has 1 to 64 bytes"},
		{"a long key", strings.Repeat("k", maxKey+1), "hello", "", "the key has 1 to 64 bytes"},
	}
	for _, test := range tests {
		got, err := Request{Key: test.key, Text: test.in}.cleanText()
		if test.err != "" {
			if err == nil || err.Error() != test.err {
				t.Errorf("%s: %v, want %s", test.what, err, test.err)
			}
		} else if err != nil || got != test.out {
			t.Errorf("%s: %q %v, want %q", test.what, got, err, test.out)
		}
	}
}

// A post at its bounds passes maxFrame in the longest of its usual spellings.
func TestLongestPostFitsAFrame(t *testing.T) {
	for _, text := range []string{strings.Repeat("😀", maxText), strings.Repeat("<", maxText)} {
		data, err := json.Marshal(Request{Type: "post", Key: strings.Repeat("k", maxKey), Text: text})
		if err != nil || len(data) > maxFrame {
			t.Errorf("%d bytes (%v), %d at most", len(data), err, maxFrame)
		}
	}
}
