package relay

import (
	"fmt"
	"testing"
)

func TestReasonTexts(t *testing.T) {
	var all texts
	seen := map[Reason]string{}
	for i := range 256 - int(firstText) {
		text := fmt.Sprintf("reason %d", i)
		r := all.number(text)
		if other, twice := seen[r]; twice || r < firstText {
			t.Fatalf("%q has the number %d, as has %q", text, r, other)
		}
		seen[r] = text
	}
	for r, text := range seen {
		if all.text(r) != text || all.number(text) != r {
			t.Errorf("%d is %q, want %q", r, all.text(r), text)
		}
	}
	if r := all.number("one too many"); r != GoingAway {
		t.Errorf("there is no room, and %d was given", r)
	}
	var none *texts
	if none.text(Idle) != Idle.String() || all.text(Idle) != Idle.String() {
		t.Error("the fixed reasons have other texts")
	}
}
