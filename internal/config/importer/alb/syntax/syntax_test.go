package syntax

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	values, err := Parse([]byte("{\"a\": [1, {\"b\": \"é\\u00e9\\n\\ud83d\\ude00\"}, null],\n \"c\": true}\n{}"))
	if err != nil || len(values) != 2 {
		t.Fatalf("%d values, %v", len(values), err)
	}
	b := values[0].All("a")[1].Get("b")
	if b.Text != "éé\n😀" || b.Pos != (Pos{1, 17}) {
		t.Errorf("b is %+v", b)
	}
	if c := values[0].Fields[1]; c.Pos != (Pos{2, 2}) || !values[0].True("c") || values[0].Get("a", "b", "c") != nil {
		t.Errorf("c is %+v", c)
	}
	if values[0].All("a")[0].Num() != 1 || values[0].Get("x").Num("y") != 0 || values[1].Texts("z") != nil {
		t.Errorf("numbers and lists are wrong")
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{"a" 1}`:                `1:6: not JSON: expected a colon, and there is "1"`,
		"{\n  a: 1}":             `2:3: not JSON: expected a key in quotes, and there is "a"`,
		`[1 2]`:                  `1:4: not JSON: expected a comma or the end of the list`,
		`[1,`:                    `expected a value, and the text ends`,
		`{"a": "x`:               `1:7: not JSON: this quote is never closed`,
		`"\x"`:                   `1:3: not JSON: bad escape: there is "x"`,
		`"\u12"`:                 `bad escape: four digits`,
		"\"a\nb\"":               `a text can't have "\n" in it`,
		"\"\xff\"":               `1:2: not JSON: this isn't text in UTF-8`,
		`1e`:                     `bad number "1e"`,
		`yes`:                    `1:1: not JSON: expected a value`,
		`{`:                      `expected a key in quotes, and the text ends`,
		strings.Repeat("[", 200): `nested more than 100 deep`,
	} {
		_, err := Parse([]byte(text))
		if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

// plain turns a node into what encoding/json makes of its text.
func plain(n *Node) any {
	switch n.Kind {
	case Bool:
		return n.Text == "true"
	case Number:
		return json.Number(n.Text)
	case String:
		return n.Text
	case List:
		list := []any{}
		for _, i := range n.Items {
			list = append(list, plain(i))
		}
		return list
	case Map:
		m := map[string]any{}
		for _, f := range n.Fields {
			m[f.Key] = plain(f.Value)
		}
		return m
	}
	return nil
}

// FuzzParse: there is no panic, and what encoding/json accepts is read as it reads it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"x\u00e9\ud800",null,true,false,{}]}`, "[]\n[]", `"\ud83d\ude00"`, `"\ud83dx"`, `{"a":1,"a":2}`, "[01]", "\t 1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := Parse([]byte(text))
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("the error has several lines: %q", err)
		}
		if strings.Count(text, "[")+strings.Count(text, "{") > maxDepth || !json.Valid([]byte(text)) {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var theirs any
		if err := d.Decode(&theirs); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "UTF-8") {
				t.Errorf("%q is JSON: %v", text, err)
			}
			return
		}
		if len(values) != 1 || !reflect.DeepEqual(plain(values[0]), theirs) {
			t.Errorf("%q became %v, encoding/json has %v", text, plain(values[0]), theirs)
		}
	})
}
