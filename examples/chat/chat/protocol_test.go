package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWhoClean(t *testing.T) {
	long := strings.Repeat("ß", maxName)
	tests := []struct {
		what    string
		in, out Who
		err     string
	}{
		{"valid", Who{"m", "Ann", "lobby"}, Who{"m", "Ann", "lobby"}, ""},
		{"the longest", Who{strings.Repeat("m", maxMember), long, long}, Who{strings.Repeat("m", maxMember), long, long}, ""},
		{"no name", Who{"m", "", "lobby"}, Who{"m", "somebody", "lobby"}, ""},
		{"a name of control characters", Who{"m", "\x1b\n\x00 \u0085", "lobby"}, Who{"m", "somebody", "lobby"}, ""},
		{"spaces and control characters", Who{"m", " A\nn\x00n ", "\tlob\x7fby "}, Who{"m", "Ann", "lobby"}, ""},
		{"no member", Who{"", "Ann", "lobby"}, Who{}, "the member ID must have 1 to 64 bytes"},
		{"a long member", Who{strings.Repeat("m", maxMember+1), "Ann", "lobby"}, Who{}, "the member ID must have 1 to 64 bytes"},
		{"no room", Who{"m", "Ann", " \n "}, Who{}, "the room has no name"},
		{"a long room", Who{"m", "Ann", long + "ß"}, Who{}, "the room's name has more than 32 characters"},
		{"a long name", Who{"m", long + "ß", "lobby"}, Who{}, "the name has more than 32 characters"},
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

func TestCleanText(t *testing.T) {
	long := strings.Repeat("ß", maxText)
	tests := []struct {
		what, key, in, out, err string
	}{
		{"valid", "k", "hello", "hello", ""},
		{"two lines", "k", "\n one\n\ttwo\r\n", "one\n\ttwo", ""},
		{"control characters", "k", "\x1b[31mred\x00", "[31mred", ""},
		{"what looks like HTML", "k", "<b>&amp;</b>", "<b>&amp;</b>", ""},
		{"the longest", strings.Repeat("k", maxKey), long, long, ""},
		{"too long", "k", long + "ß", "", "the message has more than 2000 characters"},
		{"empty", "k", " \n\x00 ", "", "the message is empty"},
		{"no key", "", "hello", "", "the key must have 1 to 64 bytes"},
		{"a long key", strings.Repeat("k", maxKey+1), "hello", "", "the key must have 1 to 64 bytes"},
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

// The longest valid post fits into maxFrame, whether its characters take four bytes
// or are escaped.
func TestLongestPostFitsAFrame(t *testing.T) {
	for _, text := range []string{strings.Repeat("😀", maxText), strings.Repeat("<", maxText)} {
		data, err := json.Marshal(Request{Type: "post", Key: strings.Repeat("k", maxKey), Text: text})
		if err != nil || len(data) > maxFrame {
			t.Errorf("%d bytes (%v), %d at most", len(data), err, maxFrame)
		}
	}
}
