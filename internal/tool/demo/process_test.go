package demo

import (
	"io"
	"strings"
	"testing"
)

func TestLineWriter(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(s string) { got = append(got, s) }}
	for _, s := range []string{"a", "b\r\n\nc\nd", "e", strings.Repeat("x", maxLine), "f\n"} {
		if n, err := io.WriteString(w, s); n != len(s) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	want := []string{"ab", "", "c", "de" + strings.Repeat("x", maxLine), "f"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", got, want)
	}
}
