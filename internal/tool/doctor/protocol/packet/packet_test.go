package packet

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// raw returns arguments as JSON.
func raw(args ...string) (all []json.RawMessage) {
	for _, a := range args {
		all = append(all, json.RawMessage(a))
	}
	return all
}

// The texts are those of socket.io 4.8.4.
func TestPackets(t *testing.T) {
	for text, want := range map[string]Packet{
		`0{"sid":"a"}`:      {Type: Connect, ID: NoID, Args: raw(`{"sid":"a"}`)},
		`0`:                 {Type: Connect, ID: NoID},
		`1`:                 {Type: Disconnect, ID: NoID},
		`4{"message":"no"}`: {Type: ConnectError, ID: NoID, Args: raw(`{"message":"no"}`)},
		`2["a"]`:            {Type: Event, ID: NoID, Args: raw(`"a"`)},
		`212["a",1,null]`:   {Type: Event, ID: 12, Args: raw(`"a"`, `1`, `null`)},
		`30[]`:              {Type: Ack, ID: 0, Args: raw()},
		`37["a",{"b":[1]}]`: {Type: Ack, ID: 7, Args: raw(`"a"`, `{"b":[1]}`)},
	} {
		var d Decoder
		p, err := d.Text(text)
		if err != nil || p == nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if len(p.Args) != len(want.Args) || len(p.Args) > 0 && !reflect.DeepEqual(*p, want) || p.Type != want.Type || p.ID != want.ID {
			t.Errorf("%s: %+v, want %+v", text, p, want)
		}
		if again := string(p.Text()); again != "4"+text {
			t.Errorf("%s: written as %s", text, again)
		}
	}
}

func TestAttachments(t *testing.T) {
	var d Decoder
	text := `52-3["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0},{"_placeholder":true,"num":2}]`
	if p, err := d.Text(text); p != nil || err != nil {
		t.Fatal(p, err)
	}
	if _, err := d.Text(`2["a"]`); err == nil {
		t.Error("a packet among the attachments of another was accepted")
	}
	if p, err := d.Binary([]byte("zero")); p != nil || err != nil {
		t.Fatal(p, err)
	}
	p, err := d.Binary([]byte("one"))
	if err != nil || p.Type != Event || p.ID != 3 {
		t.Fatal(p, err)
	}
	for i, want := range []string{"", "one", "zero", ""} {
		if got, ok := p.Attachment(p.Args[i]); string(got) != want || ok != (want != "") {
			t.Errorf("argument %d: %q, want %q", i, got, want)
		}
	}
	if got := string(p.Text()); got != "4"+text {
		t.Errorf("written as %s", got)
	}
	if _, err := d.Binary(nil); err == nil {
		t.Error("an attachment without a packet was accepted")
	}
}

func TestBadPackets(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "empty",
		"7[]":                          "unknown type",
		"x":                            "unknown type",
		`2/admin,["a"]`:                "another namespace",
		`0/admin,{}`:                   "another namespace",
		"0{":                           "isn't JSON",
		"2":                            "array of JSON",
		"2{}":                          "array of JSON",
		"2null":                        "array of JSON",
		"2[]":                          "without a name",
		"2[1]":                         "without a name",
		"3[]":                          "without an ID",
		`21234567890123456789["a"]`:    "bad ID",
		`5["a"]`:                       "number of attachments",
		`5-["a"]`:                      "number of attachments",
		`5-1-["a"]`:                    "number of attachments",
		`517-["a"]`:                    "number of attachments",
		`599999999999999999999-["a"]`:  "number of attachments",
		"2[" + strings.Repeat("1", 99): "array of JSON",
	} {
		if _, err := new(Decoder).Text(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{"": "isn't JSON", "{}": "lacks", `{"sid":"a","pingInterval":0,"pingTimeout":1}`: "lacks"} {
		if _, err := DecodeOpen(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if o, err := DecodeOpen(`{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`); err != nil || o != (OpenPacket{"a", 25000, 20000}) {
		t.Error(o, err)
	}
}

func TestInt(t *testing.T) {
	p := Packet{Args: raw(`1`, `-2`, `null`, `"3"`, `1.5`)}
	for i, want := range []int{1, -2} {
		if got, ok := p.Int(i); !ok || got != want {
			t.Errorf("%d: %d, want %d", i, got, want)
		}
	}
	for i := 2; i < 6; i++ {
		if got, ok := p.Int(i); ok {
			t.Errorf("%d: %d", i, got)
		}
	}
}

// What is written is read again.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, err := json.Marshal(rapid.StringN(1, 20, -1).Draw(t, "name"))
		if err != nil {
			t.Fatal(err)
		}
		want := Packet{Type: Event, ID: rapid.IntRange(NoID, 1e9).Draw(t, "id"), Args: []json.RawMessage{name}}
		want.Attachments = rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 0, maxAttachments).Draw(t, "attachments")
		for i := range want.Attachments {
			want.Args = append(want.Args, Placeholder(i))
		}
		var d Decoder
		got, err := d.Text(string(want.Text()[1:]))
		for _, a := range want.Attachments {
			if got != nil || err != nil {
				t.Fatal(got, err)
			}
			got, err = d.Binary(a)
		}
		if err != nil || got == nil || got.Type != want.Type || got.ID != want.ID || !reflect.DeepEqual(got.Args, want.Args) || len(got.Attachments) != len(want.Attachments) {
			t.Fatalf("%+v (%v), want %+v", got, err, want)
		}
		for i, a := range want.Attachments {
			if b, ok := got.Attachment(got.Args[i+1]); !ok || string(b) != string(a) {
				t.Errorf("attachment %d: %q, want %q", i, b, a)
			}
		}
	})
}

// Whatever a server sends, the decoder keeps no more than that, and what it accepts can
// be written and read again.
func FuzzDecoder(f *testing.F) {
	f.Add(`0{"sid":"a"}`, []byte("x"))
	f.Add(`212["a",1,null]`, []byte(""))
	f.Add(`52-3["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":9}]`, []byte("abc"))
	f.Add(`61-7[{"_placeholder":true,"num":0}]`, []byte("abc"))
	f.Add(`50-["a"]`, []byte("abc"))
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		var d Decoder
		p, err := d.Text(text)
		for i := 0; err == nil && p == nil; i++ {
			if i > maxAttachments {
				t.Fatal("it never ends")
			}
			p, err = d.Binary(data)
		}
		if err != nil {
			return
		}
		_ = p.Name()
		for i, arg := range p.Args {
			_, _ = p.Int(i)
			_, _ = p.Attachment(arg)
		}
		var again Decoder
		q, err := again.Text(string(p.Text()[1:]))
		for i := 0; err == nil && q == nil; i++ {
			q, err = again.Binary(p.Attachments[i])
		}
		if err != nil || q.Type != p.Type || q.ID != p.ID || len(q.Args) != len(p.Args) || len(q.Attachments) != len(p.Attachments) {
			t.Fatalf("%+v, then %+v (%v)", p, q, err)
		}
		_, _ = DecodeOpen(text)
	})
}
