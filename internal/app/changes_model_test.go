package app_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// modelled is what the model knows of a backend. Each name has an address of its own.
type modelled struct {
	file  int // its weight there; 0 is not in the file
	added int // its weight; 0 is not added
	// What was changed of one in the file.
	removed bool
	weight  int // 0 is as in the file
	admin   string
}

type world struct {
	t    *rapid.T
	a    *app.App
	dir  string
	all  map[string]*modelled
	stop func()
}

var modelNames = []string{"a", "b", "c", "d"}

func modelAddress(name string) string {
	return "127.0.0.1:" + fmt.Sprint(1+slices.Index(modelNames, name))
}

func (w *world) write() {
	var list []string
	for _, name := range modelNames {
		if m := w.all[name]; m.file > 0 {
			list = append(list, fmt.Sprintf("{name: %s, address: %q, weight: %d}", name, modelAddress(name), m.file))
		}
	}
	text := "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {socket: off}\nengine: portable\npools: {p: {backends: [" + strings.Join(list, ", ") + "]}}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "holdfast.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) start() {
	file := filepath.Join(w.dir, "holdfast.yaml")
	a, err := app.Start(app.Options{File: file, Load: func() (*config.Config, error) { return yaml.Load(file) }, LogTo: &testkit.Log{}, State: filepath.Join(w.dir, "state.json")})
	if err != nil {
		w.t.Fatal(err)
	}
	w.a, w.stop = a, func() { a.Shutdown(context.Background()) }
}

// settle is what loading the file does to the changes.
func (w *world) settle() {
	for _, m := range w.all {
		if m.file == 0 {
			m.removed = false
			continue
		}
		if m.added > 0 {
			m.weight, m.added, m.removed = m.added, 0, false
		}
		if m.weight == m.file {
			m.weight = 0
		}
	}
}

// runs is what should run: weights and states, by name.
func (w *world) runs() map[string]string {
	got, hidden := map[string]string{}, map[string]string{}
	for name, m := range w.all {
		weight := m.added
		if m.file > 0 {
			if weight = m.file; m.weight > 0 {
				weight = m.weight
			}
		}
		text := fmt.Sprint(weight, " ", m.admin)
		switch {
		case m.file > 0 && m.removed:
			hidden[name] = text
		case weight > 0:
			got[name] = text
		}
	}
	if len(got) == 0 {
		return hidden
	}
	return got
}

func (w *world) check() {
	w.t.Helper()
	got := map[string]string{}
	for _, b := range w.a.Status().Pools[0].Backends {
		if b.State != "removed" {
			got[b.Name] = fmt.Sprint(b.Weight, " ", strings.TrimPrefix(b.Admin, "ready"))
		}
	}
	if want := w.runs(); !maps.Equal(got, want) {
		w.t.Fatalf("it runs %v, want %v (changes %+v)", got, want, w.a.Balancer().Changes())
	}
	want := 0
	for _, m := range w.all {
		for _, changed := range []bool{m.added > 0, m.removed, m.weight > 0, m.admin != ""} {
			if changed {
				want++
			}
		}
	}
	if list := w.a.Balancer().Changes(); len(list) != want {
		w.t.Fatalf("%d changes are listed, want %d: %+v", len(list), want, list)
	}
}

// result compares whether a change was accepted.
func (w *world) result(what string, err error, want bool) {
	w.t.Helper()
	if (err == nil) != want {
		w.t.Fatalf("%s: %v, want success %v", what, err, want)
	}
}

// TestChangesModel makes changes, reloads and restarts in any order, and compares what runs
// with a model.
func TestChangesModel(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(parent, "")
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, dir: dir, all: map[string]*modelled{}}
		for _, name := range modelNames {
			w.all[name] = &modelled{}
		}
		w.all["a"].file, w.all["b"].file = 1, 2
		w.write()
		w.start()
		defer func() { w.stop() }()
		weight := rapid.IntRange(1, 3)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			name := rapid.SampledFrom(modelNames).Draw(t, "name")
			m, b := w.all[name], w.a.Balancer()
			before := w.runs()
			_, runs := before[name]
			switch op := rapid.SampledFrom([]string{"add", "add", "remove", "weight", "admin", "admin", "revert", "reload", "restart"}).Draw(t, "op"); op {
			case "add":
				n := weight.Draw(t, "weight")
				_, err := b.AddBackend("p", api.NewBackend{Name: name, Address: modelAddress(name), Weight: &n})
				w.result(op, err, !runs)
				if !runs {
					m.admin, m.weight, m.added = "", 0, n
					w.settle()
				}
			case "remove":
				_, err := b.RemoveBackend("p", name, "0s")
				w.result(op, err, runs && len(before) > 1)
				if err == nil {
					m.removed, m.added, m.weight, m.admin = m.file > 0, 0, 0, ""
				}
			case "weight":
				n := weight.Draw(t, "weight")
				_, err := b.PatchBackend("p", name, api.BackendPatch{Weight: &n})
				w.result(op, err, runs)
				switch {
				case err != nil:
				case m.file == 0:
					m.added = n
				default:
					m.weight = n
					if n == m.file {
						m.weight = 0
					}
				}
			case "admin":
				state := rapid.SampledFrom([]string{"ready", "drain", "maint"}).Draw(t, "state")
				_, err := b.PatchBackend("p", name, api.BackendPatch{Admin: state})
				w.result(op, err, runs)
				if err == nil {
					m.admin = strings.TrimPrefix(state, "ready")
				}
			case "revert":
				_, err := b.Revert("p", name)
				changed := m.added > 0 || m.removed || m.weight > 0 || m.admin != ""
				w.result(op, err, changed)
				*m = modelled{file: m.file}
			case "reload", "restart":
				for _, name := range modelNames {
					w.all[name].file = rapid.IntRange(0, 2).Draw(t, "weight in the file of "+name)
				}
				if !slices.ContainsFunc(modelNames, func(n string) bool { return w.all[n].file > 0 }) {
					m.file = 1
				}
				w.write()
				w.settle()
				if op == "restart" {
					w.stop()
					w.start()
				} else if _, err := w.a.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			w.check()
		}
	})
}
