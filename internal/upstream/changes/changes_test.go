package changes

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

var at = time.Unix(1_800_000_000, 0).UTC()

func spec(name string, port, weight int) pool.BackendSpec {
	return pool.BackendSpec{Name: name, Address: fmt.Sprintf("10.0.0.1:%d", port), Weight: weight}
}

func added(port, weight int) *Added {
	return &Added{Address: spec("", port, 0).Address, Weight: weight, Since: at}
}

// brief lists backends as NAME:PORT*WEIGHT.
func brief(list []pool.BackendSpec) string {
	var all []string
	for _, b := range list {
		all = append(all, fmt.Sprintf("%s%s*%d", b.Name, strings.TrimPrefix(b.Address, "10.0.0.1"), b.Weight))
	}
	return strings.Join(all, " ")
}

func briefRows(rows []Row) string {
	var all []string
	for _, r := range rows {
		text := fmt.Sprintf("%s %s %s>%s", r.Backend, r.Field, r.File, r.Now)
		if r.Problem != "" {
			text += " !" + r.Problem
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

func TestMerge(t *testing.T) {
	file := []pool.BackendSpec{spec("a", 1, 1), spec("b", 2, 5)}
	found := []pool.BackendSpec{spec("x", 8, 1), spec("y", 9, 2)}
	for _, c := range []struct {
		name       string
		of         map[string]Backend
		file       []pool.BackendSpec
		found      []pool.BackendSpec
		want, rows string
	}{
		{name: "nothing", file: file, found: found, want: "a:1*1 b:2*5 x:8*1 y:9*2"},
		{name: "added", of: map[string]Backend{"c": {Added: added(3, 7)}}, file: file, found: found, want: "a:1*1 b:2*5 c:3*7 x:8*1 y:9*2", rows: "c added >10.0.0.1:3"},
		{name: "added, and found as well", of: map[string]Backend{"c": {Added: added(8, 7)}}, file: file, found: found, want: "a:1*1 b:2*5 c:8*7 y:9*2", rows: "c added >10.0.0.1:8"},
		{name: "added, and found by its name", of: map[string]Backend{"x": {Added: added(3, 7)}}, file: file, found: found, want: "a:1*1 b:2*5 x:3*7 y:9*2", rows: "x added >10.0.0.1:3"},
		{name: "added, with a name of the file", of: map[string]Backend{"a": {Added: added(3, 7)}}, file: file, want: "a:1*1 b:2*5", rows: "a added >10.0.0.1:3 !the configuration has a backend with this name and the address 10.0.0.1:1"},
		{name: "added, with an address of the file", of: map[string]Backend{"c": {Added: added(2, 7)}}, file: file, want: "a:1*1 b:2*5", rows: "c added >10.0.0.1:2 !it has the address of the backend b of the configuration"},
		{name: "two with one address", of: map[string]Backend{"c": {Added: added(3, 7)}, "d": {Added: added(3, 1)}}, file: file, want: "a:1*1 b:2*5 c:3*7", rows: "c added >10.0.0.1:3; d added >10.0.0.1:3 !it has the address of the backend c, which was added, too"},
		{name: "removed", of: map[string]Backend{"a": {Removed: &Removed{at}}, "y": {Removed: &Removed{at}}}, file: file, found: found, want: "b:2*5 x:8*1", rows: "a removed 10.0.0.1:1>; y removed 10.0.0.1:9>"},
		{name: "removed, but not there", of: map[string]Backend{"z": {Removed: &Removed{at}}}, file: file, found: found, want: "a:1*1 b:2*5 x:8*1 y:9*2", rows: "z removed > !neither the configuration nor discovery has it now"},
		{name: "all removed", of: map[string]Backend{"a": {Removed: &Removed{at}}, "b": {Removed: &Removed{at}}}, file: file, want: "a:1*1 b:2*5", rows: "a removed 10.0.0.1:1> !the pool would have no backends; b removed 10.0.0.1:2> !the pool would have no backends"},
		{name: "all removed, another added", of: map[string]Backend{"a": {Removed: &Removed{at}}, "b": {Removed: &Removed{at}}, "c": {Added: added(3, 1)}}, file: file, want: "c:3*1", rows: "a removed 10.0.0.1:1>; b removed 10.0.0.1:2>; c added >10.0.0.1:3"},
		{name: "replaced", of: map[string]Backend{"a": {Removed: &Removed{at}, Added: added(3, 4)}}, file: file, want: "b:2*5 a:3*4", rows: "a added >10.0.0.1:3; a removed 10.0.0.1:1>"},
		{name: "its address is another's now", of: map[string]Backend{"a": {Removed: &Removed{at}}, "c": {Added: added(1, 4)}}, file: file, want: "b:2*5 c:1*4", rows: "a removed 10.0.0.1:1>; c added >10.0.0.1:1"},
		{name: "weights", of: map[string]Backend{"b": {Weight: &Number{9, at}}, "x": {Weight: &Number{3, at}}, "z": {Weight: &Number{3, at}}}, file: file, found: found, want: "a:1*1 b:2*9 x:8*3 y:9*2", rows: "b weight 5>9; x weight 1>3; z weight >3 !the pool has no backend with this name now"},
		{name: "admin", of: map[string]Backend{"b": {Admin: &Admin{Maint, at}}, "z": {Admin: &Admin{Drain, at}}}, file: file, want: "a:1*1 b:2*5", rows: "b admin ready>maint; z admin ready>drain !the pool has no backend with this name now"},
	} {
		m := Set{"p": c.of}.Merge(Pool{Name: "p", File: c.file, Found: finding(c.found)})
		if got := brief(m.Backends); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := briefRows(m.Rows); got != c.rows {
			t.Errorf("%s: rows\n%s, want\n%s", c.name, got, c.rows)
		}
	}
}

// finding is Pool.Found as upstream/discovery would.
func finding(list []pool.BackendSpec) func(names, addresses map[string]bool) []pool.BackendSpec {
	if list == nil {
		return nil
	}
	return func(names, addresses map[string]bool) (all []pool.BackendSpec) {
		for _, b := range list {
			if !names[b.Name] && !addresses[b.Address] {
				all = append(all, b)
			}
		}
		return all
	}
}

func TestSettle(t *testing.T) {
	file := []pool.BackendSpec{spec("a", 1, 1), spec("b", 2, 5)}
	for _, c := range []struct {
		name      string
		of        map[string]Backend
		discovers bool
		want      map[string]Backend
	}{
		{"the file has it", map[string]Backend{"a": {Added: added(1, 1)}}, false, nil},
		{"with another weight", map[string]Backend{"b": {Added: added(2, 1)}}, false, map[string]Backend{"b": {Weight: &Number{1, at}}}},
		{"with another address", map[string]Backend{"b": {Added: added(3, 1)}}, false, map[string]Backend{"b": {Added: added(3, 1)}}},
		{"the same weight", map[string]Backend{"b": {Weight: &Number{5, at}, MaxSessions: &Number{0, at}, Admin: &Admin{Drain, at}}}, false, map[string]Backend{"b": {Admin: &Admin{Drain, at}}}},
		{"another weight", map[string]Backend{"b": {Weight: &Number{6, at}}}, false, map[string]Backend{"b": {Weight: &Number{6, at}}}},
		{"removed from the file", map[string]Backend{"c": {Removed: &Removed{at}}}, false, nil},
		{"removed from discovery", map[string]Backend{"c": {Removed: &Removed{at}}}, true, map[string]Backend{"c": {Removed: &Removed{at}}}},
		{"still in the file", map[string]Backend{"a": {Removed: &Removed{at}}}, false, map[string]Backend{"a": {Removed: &Removed{at}}}},
		{"of a backend that left the file", map[string]Backend{"c": {Admin: &Admin{Drain, at}}}, false, map[string]Backend{"c": {Admin: &Admin{Drain, at}}}},
	} {
		got := Set{"p": c.of, "other": {"a": {Admin: &Admin{Drain, at}}}}.Settle("p", file, c.discovers)
		if !reflect.DeepEqual(got["p"], c.want) || got.Len() != len(c.want)+1 {
			t.Errorf("%s: %+v, want %+v", c.name, got["p"], c.want)
		}
	}
}

func TestStrays(t *testing.T) {
	s := Set{"gone": {"b": {Weight: &Number{2, at}}, "a": {Added: added(1, 1)}}, "here": {"a": {Weight: &Number{2, at}}}}
	rows := s.Strays(func(in string) bool { return in == "here" })
	const no = "the configuration has no such pool now"
	if got, want := briefRows(rows), "a added >10.0.0.1:1 !"+no+"; b weight >2 !"+no; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		b    Backend
		want string
	}{
		{Backend{Added: added(1, 1), Removed: &Removed{at}, Admin: &Admin{Drain, at}}, ""},
		{Backend{Added: &Added{Address: "nowhere", Weight: 1}}, "nowhere"},
		{Backend{Added: &Added{Address: "EXAMPLE.com:80", Weight: 1}}, "normal form"},
		{Backend{Added: added(1, 0)}, "weight 0"},
		{Backend{Added: &Added{Address: "10.0.0.1:1", Weight: 1, MaxSessions: -1, HealthPort: 70000}}, "health_port 70000"},
		{Backend{Weight: &Number{257, at}}, "weight 257"},
		{Backend{MaxSessions: &Number{-1, at}}, "max_sessions -1"},
		{Backend{Admin: &Admin{"asleep", at}}, `"asleep"`},
	} {
		err := Set{"p": {"b": c.b}}.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `backend "b" of pool "p"`)) {
			t.Errorf("%+v: %v, want %q", c.b, err, c.want)
		}
	}
}

// drawSet draws changes of a few backends.
func drawSet(t *rapid.T) Set {
	s := Set{}
	for _, name := range []string{"a", "b", "c", "x"} {
		s = s.With("p", name, func(b *Backend) {
			flip := func(what string) bool { return rapid.Bool().Draw(t, name+" "+what) }
			if flip("added") {
				b.Added = added(rapid.IntRange(1, 5).Draw(t, "port"), rapid.IntRange(1, 3).Draw(t, "weight"))
			}
			if flip("removed") {
				b.Removed = &Removed{at}
			}
			if flip("weight") {
				b.Weight = &Number{rapid.IntRange(1, 3).Draw(t, "weight"), at}
			}
			if flip("admin") {
				b.Admin = &Admin{Drain, at}
			}
		})
	}
	return s
}

func drawList(t *rapid.T, what string, first int) (list []pool.BackendSpec) {
	for i, name := range []string{"a", "b", "x"} {
		if rapid.Bool().Draw(t, what+" "+name) {
			list = append(list, spec(name, first+i, rapid.IntRange(1, 3).Draw(t, "weight")))
		}
	}
	return list
}

// Whatever is changed and loaded: names and addresses are unique, a pool that has backends
// keeps some, every change is listed, those without a problem are in effect, and settling
// and writing to a file change nothing of what runs.
func TestMergeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, file, found := drawSet(t), drawList(t, "file", 1), drawList(t, "found", 3)
		p := Pool{Name: "p", File: file, Found: finding(found)}
		m := s.Merge(p)
		names, addresses := map[string]bool{}, map[string]bool{}
		by := map[string]pool.BackendSpec{}
		for _, b := range m.Backends {
			if names[b.Name] || addresses[b.Address] {
				t.Fatalf("twice %s or %s", b.Name, b.Address)
			}
			names[b.Name], addresses[b.Address], by[b.Name] = true, true, b
		}
		if len(file)+len(found) > 0 && len(m.Backends) == 0 {
			t.Fatal("the pool has no backends any more")
		}
		fields := map[string]int{}
		for _, r := range m.Rows {
			fields[r.Backend]++
			if r.Problem != "" {
				continue
			}
			b, there := by[r.Backend]
			switch r.Field {
			case "added":
				if !m.Added[r.Backend] || b.Address != r.Now {
					t.Fatalf("%+v isn't in effect", r)
				}
			case "removed":
				if there && b.Address == r.File && !m.Added[r.Backend] {
					t.Fatalf("%+v isn't in effect", r)
				}
			case "weight":
				if !m.Added[r.Backend] && fmt.Sprint(b.Weight) != r.Now {
					t.Fatalf("%+v isn't in effect: %+v", r, b)
				}
			}
		}
		for name, b := range s["p"] {
			want := 0
			for _, set := range []bool{b.Added != nil, b.Removed != nil, b.Weight != nil, b.MaxSessions != nil, b.Admin != nil} {
				if set {
					want++
				}
			}
			if fields[name] != want {
				t.Fatalf("%d of %d changes of %s are listed", fields[name], want, name)
			}
		}
		for _, b := range file {
			if c := s.Of("p", b.Name); c.Removed == nil && !slices.ContainsFunc(m.Backends, func(o pool.BackendSpec) bool { return o.Name == b.Name && o.Address == b.Address }) {
				t.Fatalf("%s of the file is missing", b.Name)
			}
		}
		settled := s.Settle("p", file, true)
		if again := settled.Settle("p", file, true); !reflect.DeepEqual(settled, again) {
			t.Fatalf("settled twice: %v, %v", settled, again)
		}
		text, err := json.Marshal(settled)
		if err != nil {
			t.Fatal(err)
		}
		var read Set
		if err := json.Unmarshal(text, &read); err != nil || read.Check() != nil {
			t.Fatalf("%v, %v", err, read.Check())
		}
		if !reflect.DeepEqual(settled.Merge(p).Backends, read.Merge(p).Backends) {
			t.Fatalf("written and read it is %v, not %v", read, settled)
		}
	})
}

// TestSettleMany: a start, a reload and each added backend settle all changes, so one of
// them must not cost a copy of all.
func TestSettleMany(t *testing.T) {
	const n = 3000
	of := map[string]Backend{}
	for i := range n {
		of[fmt.Sprint(i)] = Backend{Weight: &Number{Now: 2}}
	}
	s := Set{"a": of}
	if got := testing.AllocsPerRun(1, func() { s.Settle("a", nil, false) }); got > n/10 {
		t.Errorf("%v allocations for %d changes", got, n)
	}
}
