package relay

import (
	"fmt"
	"testing"
)

func TestTexts(t *testing.T) {
	var words texts
	seen := map[Reason]string{}
	for i := range 256 - int(firstText) {
		text := fmt.Sprintf("reason %d", i)
		r := words.number(text)
		if other, twice := seen[r]; twice || r < firstText {
			t.Fatalf("%q has the number %d, as has %q", text, r, other)
		}
		seen[r] = text
	}
	for r, text := range seen {
		if words.of(r) != text || words.number(text) != r {
			t.Errorf("%d is %q, want %q", r, words.of(r), text)
		}
	}
	if r := words.number("one too many"); r != GoingAway {
		t.Errorf("there is no room, and %d was given", r)
	}
	var none *texts
	if none.of(Idle) != Idle.String() || words.of(Idle) != Idle.String() {
		t.Error("the fixed reasons have other texts")
	}
}
