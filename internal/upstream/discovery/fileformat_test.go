package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	want := []Member{{Name: "10.0.0.9:3000", Address: "10.0.0.9:3000", Weight: 1}, {Name: "ws1", Address: "10.0.0.1:3000", Weight: 2, MaxSessions: 5000},
		{Name: "ws2", Address: "ws2.internal:3000", Weight: 256, HealthPort: 8081, Backup: true}, {Name: "ws3", Address: "[2001:db8::1]:3000", Weight: 1}}
	list := `[{"name": "ws2", "address": "WS2.Internal:3000", "weight": 256, "health_port": 8081, "backup": true},
		{"max_sessions": 5000, "weight": 2, "name": "ws1", "address": "10.0.0.1:3000", "backup": false},
		{"address": "10.0.0.9:3000"}, {"name": "ws\u0033", "address": "[2001:DB8:0::1]:3000"}]`
	for _, text := range []string{list, `{"backends": ` + list + "}\n"} {
		file := filepath.Join(t.TempDir(), "b.json")
		write(t, file, text)
		if got, err := ReadFile(file); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v\nwant %v", got, err, want)
		}
	}
	if _, err := ReadFile("none.json"); err == nil || err.Error() != "none.json: no such file or directory" {
		t.Errorf("error %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, `1:1: broken JSON: unexpected end of JSON input`},
		{"[\n", `2:1: broken JSON: unexpected end of JSON input`},
		{`[{"address": "a:1"}`, `1:20: broken JSON: unexpected end of JSON input`},
		{`[{"address": "a:1"},]`, `1:21: broken JSON: invalid character ']' looking for beginning of value`},
		{"[\n{\"é\": 1,}]", `2:9: broken JSON: invalid character '}' looking for beginning of object key string`},
		{`[{"address": "a:1"}] x`, `1:22: broken JSON: invalid character 'x' after top-level value`},
		{"[{\"address\": \"a\xff:1\"}]", `1:16: broken JSON: not in UTF-8`},
		{`- address: a:1`, `1:2: broken JSON: invalid character ' ' in numeric literal`},
		{`"a:1"`, `1:1: expected a list of backends, got "a:1"`},
		{` null`, `1:2: expected a list of backends, got null`},
		{`{}`, `1:1: the key "backends" with a list of backends is missing`},
		{`{"servers": []}`, `1:2: unknown key "servers": only "backends" is known here`},
		{`{"backends": {}}`, `1:14: expected a list of backends, got an object`},
		{`{"backends": [{"address": "a:1"}], "backends": []}`, `1:36: duplicate key "backends" (first on line 1)`},
		{`[]`, `1:1: the list is empty: a pool needs at least one backend`},
		{`{"backends": []}`, `1:14: the list is empty: a pool needs at least one backend`},
		{`["a:1"]`, `1:2: expected a backend such as {"address": "10.0.0.1:3000"}, got "a:1"`},
		{`[[]]`, `1:2: expected a backend such as {"address": "10.0.0.1:3000"}, got a list`},
		{"[{\"address\": \"a:1\"},\n\t{\"name\": \"x\"}]", `2:2: the backend has no address: write for example "address": "10.0.0.1:3000"`},
		{`[{"Address": "a:1"}]`, `1:3: unknown key "Address": a backend has name, address, weight, max_sessions, health_port and backup`},
		{`[{"address": "a:1", "backup": 1}]`, `1:31: expected true or false, got 1`},
		{`[{"address": "a:1", "address": "b:1"}]`, `1:21: duplicate key "address" (first on line 1)`},
		{`[{"address": 1}]`, `1:14: expected an address such as 10.0.0.1:3000 in quotes, got 1`},
		{`[{"address": ""}]`, `1:14: bad address "": want host:port, such as 10.0.0.1:3000`},
		{`[{"address": "10.0.0.1"}]`, `1:14: bad address "10.0.0.1": the port is missing, write for example 10.0.0.1:3000`},
		{`[{"address": "a:0"}]`, `1:14: bad address "a:0": a backend's port is 1 to 65535`},
		{`[{"address": "0.0.0.0:1"}]`, `1:14: bad address "0.0.0.0:1": 0.0.0.0 is for listening, a backend needs the address it is reached at`},
		{`[{"address": "a:1", "name": ""}]`, `1:29: the name is empty`},
		{`[{"address": "a:1", "name": null}]`, `1:29: expected a name in quotes, got null`},
		{`[{"address": "a:1", "name": "a b"}]`, `1:29: the name "a b" has spaces or invisible characters in it`},
		{`[{"address": "a:1", "name": "a\u0007"}]`, `1:29: the name "a\a" has spaces or invisible characters in it`},
		{`[{"address": "a:1", "name": "` + strings.Repeat("x", 261) + `"}]`, `1:29: the name "` + strings.Repeat("x", 80) + `…" is longer than 260 bytes`},
		{`[{"address": "a:1", "weight": 0}]`, `1:31: expected a whole number from 1 to 256, got 0`},
		{`[{"address": "a:1", "weight": 257}]`, `1:31: expected a whole number from 1 to 256, got 257`},
		{`[{"address": "a:1", "weight": 1.5}]`, `1:31: expected a whole number from 1 to 256, got 1.5`},
		{`[{"address": "a:1", "weight": "2"}]`, `1:31: expected a whole number, got "2"`},
		{`[{"address": "a:1", "weight": [2]}]`, `1:31: expected a whole number, got a list`},
		{`[{"address": "a:1", "max_sessions": -1}]`, `1:37: expected a whole number from 0 to 2147483647, got -1`},
		{`[{"address": "a:1", "max_sessions": true}]`, `1:37: expected a whole number, got true`},
		{"[{\"address\": \"a:1\"},\n{\"address\": \"A:1\"}]", `2:13: duplicate address "a:1" (first on line 1)`},
		{"[{\"address\": \"a:1\", \"name\": \"x\"},\n{\"address\": \"b:1\", \"name\": \"x\"}]", `2:28: duplicate name "x" (first on line 1)`},
		{`[{"address": "a:1"}, {"address": "b:1", "name": "a:1"}]`, `1:49: duplicate name "a:1" (first on line 1)`},
	} {
		members, err := parse("b.json", []byte(c.text))
		if err == nil || err.Error() != "b.json:"+c.want || members != nil {
			t.Errorf("%s\ngot  %v\nwant b.json:%s", c.text, err, c.want)
		}
	}
}

func TestTooManyMembers(t *testing.T) {
	var b strings.Builder
	for i := range maxMembers {
		fmt.Fprintf(&b, ",\n{\"address\": \"a%d:1\"}", i)
	}
	list := b.String()[1:]
	if members, err := parse("b.json", []byte("["+list+"]")); err != nil || len(members) != maxMembers {
		t.Errorf("%d members, error %v", len(members), err)
	}
	_, err := parse("b.json", []byte("["+list+",\n{\"address\": \"b:1\"}]"))
	if err == nil || err.Error() != "b.json:10002:1: more than 10000 backends" {
		t.Errorf("error %v", err)
	}
}

// Whatever a file contains, the result is valid members or one line with the position
// of the error.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`[{"name": "ws1", "address": "10.0.0.1:3000", "weight": 2, "max_sessions": 5000}]`,
		`{"backends": [{"address": "a:1"}, {"address": "[::1]:2"}]}`,
		`{"backends": {"address": 1e400}, "x": [[[]]]}`, `[{"weight": -0, "name": "\ud800"}]`, "\ufeff[]", `[{"address": "a:1"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := parse("b.json", text)
		if err == nil {
			if len(members) == 0 {
				t.Fatal("neither members nor an error")
			}
			checkMembers(t, members)
			return
		}
		var line, col int
		if n, _ := fmt.Sscanf(err.Error(), "b.json:%d:%d: ", &line, &col); n != 2 || line < 1 || col < 1 {
			t.Fatalf("error without a place: %v", err)
		}
		if strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("error of several lines: %q", err)
		}
		if lines := strings.Split(string(text), "\n"); line > len(lines) || col > len([]rune(lines[line-1]))+1 {
			t.Fatalf("place beyond the text: %v", err)
		}
	})
}

func TestUnreadableFile(t *testing.T) {
	if _, err := ReadFile(os.DevNull); err == nil || err.Error() != os.DevNull+": not a regular file" {
		t.Errorf("error %v", err)
	}
}

// TestFileWithUnixSocket: backends on the same machine.
func TestFileWithUnixSocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.json")
	write(t, file, `[{"address": "unix:/run/chat.sock"}]`)
	got, err := ReadFile(file)
	if want := (Member{Name: "unix:/run/chat.sock", Address: "unix:/run/chat.sock", Weight: 1}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	write(t, file, `[{"address": "unix:/run/../chat.sock"}]`)
	if _, err := ReadFile(file); err == nil {
		t.Error("a path that isn't in its normal form")
	}
}
