package demo

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPostIsCleaned(t *testing.T) {
	tests := []struct {
		name string
		in   post
		want post
		err  string
	}{
		{"as it is", post{"k", "Ada", "hi"}, post{"k", "Ada", "hi"}, ""},
		{"spaces around", post{"k", " Ada ", " hi\n"}, post{"k", "Ada", "hi"}, ""},
		{"no name", post{"k", "", "hi"}, post{"k", "somebody", "hi"}, ""},
		{"control characters", post{"k", "A\nda\x00", "a\x1b[31m\nb\tc"}, post{"k", "Ada", "a[31m\nb\tc"}, ""},
		{"markup stays", post{"k", "<b>", "<script>"}, post{"k", "<b>", "<script>"}, ""},
		{"longest", post{strings.Repeat("k", 64), strings.Repeat("é", 32), strings.Repeat("é", 2000)},
			post{strings.Repeat("k", 64), strings.Repeat("é", 32), strings.Repeat("é", 2000)}, ""},
		{"no key", post{"", "Ada", "hi"}, post{}, "the key must have 1 to 64 bytes"},
		{"long key", post{strings.Repeat("k", 65), "Ada", "hi"}, post{}, "the key must have 1 to 64 bytes"},
		{"empty", post{"k", "Ada", " \x00 "}, post{}, "the message is empty"},
		{"long text", post{"k", "Ada", strings.Repeat("x", 2001)}, post{}, "the message has more than 2000 characters"},
		{"long name", post{"k", strings.Repeat("x", 33), "hi"}, post{}, "the name has more than 32 characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.in.clean()
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func FuzzPost(f *testing.F) {
	f.Add("k", "Ada", "hi")
	f.Add("k", "\x00\n", "a\tb\u0085\u202e")
	f.Add(strings.Repeat("k", 64), strings.Repeat("x", 32), strings.Repeat("é", 2000))
	f.Fuzz(func(t *testing.T, key, name, text string) {
		p, err := post{key, name, text}.clean()
		if err != nil {
			return
		}
		again, err := p.clean()
		if err != nil || again != p {
			t.Fatalf("cleaning %+v again gives %+v, %v", p, again, err)
		}
		if p.Name == "" || utf8.RuneCountInString(p.Name) > maxName || strings.ContainsFunc(p.Name, unicode.IsControl) {
			t.Fatalf("name %q", p.Name)
		}
		if p.Text == "" || utf8.RuneCountInString(p.Text) > maxText || strings.ContainsAny(p.Text, "\x00\x1b\r") {
			t.Fatalf("text %q", p.Text)
		}
	})
}

func TestHistoryKeepsTheLastMessages(t *testing.T) {
	var h history
	if h.last() != 0 || len(h.after(0)) != 0 || h.lost(7) != 0 {
		t.Fatal("an empty history has something")
	}
	for id := uint64(1); id <= historySize+10; id++ {
		h.add(message{ID: id})
	}
	tests := []struct {
		after, first uint64
		count        int
		lost         uint64
	}{
		{0, 11, historySize, 10},
		{9, 11, historySize, 1},
		{10, 11, historySize, 0},
		{58, 59, 2, 0},
		{60, 0, 0, 0},
		{99, 0, 0, 0},
		{1<<64 - 1, 0, 0, 0},
	}
	for _, tt := range tests {
		got := h.after(tt.after)
		if len(got) != tt.count || tt.count > 0 && got[0].ID != tt.first || h.lost(tt.after) != tt.lost {
			t.Errorf("after %d: %d messages, %d lost; want %d from %d, %d lost",
				tt.after, len(got), h.lost(tt.after), tt.count, tt.first, tt.lost)
		}
	}
}
