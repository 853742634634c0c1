package auth

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzPayload compares what is read of a payload with encoding/json.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"sub": "alice", "exp": 1e9, "aud": ["a", "b"], "a": {"b": [true, null, 1.5]}, "c": [[{}]]}`))
	f.Add([]byte(`{"a.b": 1, "a": {"b": 2}, "exp": "x"}`))
	f.Add([]byte(`{"a": 1, "\u0061": 2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber() // of any size, as long as it isn't a date
		valid := d.Decode(&want) == nil && want != nil && utf8.Valid(text)
		if !json.Valid(text) {
			return // jwt calls UnmarshalJSON with valid JSON only
		}
		var p payload
		err := p.UnmarshalJSON(text)
		if err == nil && !valid {
			t.Fatalf("accepted %q", text)
		}
		if err != nil {
			return
		}
		for name, value := range want {
			text, isText := value.(string)
			c := p.find(name)
			if isText && (c == nil || c.value != text) {
				// One inside another may have the same name, and come first.
				if c == nil {
					t.Errorf("no claim %q", name)
				}
			}
		}
		packed := p.claims()
		n := 0
		for name := range packed.All() {
			if p.find(name) == nil {
				t.Errorf("a claim %q", name)
			}
			n++
		}
		if n > len(p.all) {
			t.Errorf("%d claims of %d", n, len(p.all))
		}
	})
}
