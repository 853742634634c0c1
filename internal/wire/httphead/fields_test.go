package httphead

import (
	"slices"
	"testing"
)

func fieldsOf(pairs ...string) (f Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f = append(f, Field{[]byte(pairs[i]), []byte(pairs[i+1])})
	}
	return f
}

func TestFields(t *testing.T) {
	f := fieldsOf("Accept", "a", "ACCEPT", "b", "accept", "", "Other", "c")
	if v, ok := f.Get("aCCept"); string(v) != "a" || !ok {
		t.Errorf("Get = %q, %t; want the first one", v, ok)
	}
	if v, ok := f.Get("accep"); v != nil || ok {
		t.Errorf("Get of what isn't there = %q, %t", v, ok)
	}
	if n := f.Count("accept"); n != 3 {
		t.Errorf("Count = %d; want 3", n)
	}
	var all []string
	for v := range f.Values("accept") {
		all = append(all, string(v))
	}
	if !slices.Equal(all, []string{"a", "b", ""}) {
		t.Errorf("Values = %q", all)
	}
	for range f.Values("accept") {
		break // must not panic
	}
}

func TestHasToken(t *testing.T) {
	tests := []struct {
		fields Fields
		want   bool
	}{
		{fieldsOf("Connection", "Upgrade"), true},
		{fieldsOf("connection", "keep-alive, UPGRADE"), true},
		{fieldsOf("Connection", "keep-alive", "Connection", ",, \tupgrade\t ,"), true},
		{fieldsOf("Connection", `"a, b", upgrade`), true},
		{fieldsOf("Connection", `"a\", b", upgrade`), true},
		{fieldsOf(), false},
		{fieldsOf("Connection", ""), false},
		{fieldsOf("Connection", ", ,"), false},
		{fieldsOf("Connection", "upgraded"), false},
		{fieldsOf("Connection", "up grade"), false},
		{fieldsOf("Connection", "upgrade;q=1"), false},
		{fieldsOf("Connection", `"a, upgrade, b"`), false},
		{fieldsOf("Connection", `"a, upgrade`), false},
		{fieldsOf("Connection", `"a\`), false},
		{fieldsOf("Other", "upgrade"), false},
	}
	for _, tt := range tests {
		if got := tt.fields.HasToken("Connection", "upgrade"); got != tt.want {
			t.Errorf("HasToken of %q = %t; want %t", tt.fields, got, tt.want)
		}
	}
}

func TestEqualFold(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"WebSocket", "websocket", true},
		{"websoc\u212aet", "websocket", false}, // the Kelvin sign
		{"a[", "a{", false},                    // apart by the same bit as letters
		{"@", "`", false},
		{"a", "ab", false},
		{"", "", true},
	}
	for _, tt := range tests {
		if got := EqualFold([]byte(tt.a), tt.b); got != tt.want {
			t.Errorf("EqualFold(%q, %q) = %t", tt.a, tt.b, got)
		}
	}
}

func BenchmarkHasToken(b *testing.B) {
	var r Request
	if _, err := r.Parse([]byte(chrome)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !r.Fields.HasToken("connection", "upgrade") {
			b.Fatal("not there")
		}
	}
}
