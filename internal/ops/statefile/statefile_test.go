package statefile

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func (s state) Check() error {
	if s["x"].N < 0 {
		return errors.New("x is negative")
	}
	return nil
}

type state map[string]struct {
	N int `json:"n"`
}

// openAside opens a file, and sets it aside if it can't be used.
func openAside(path string, s *state) (f *File, aside string, err error) {
	if f, err = Open(path, 2, s); err == nil {
		aside, err = f.SetAside()
	}
	return f, aside, err
}

func open(t *testing.T, path string) (*File, state, string) {
	t.Helper()
	var s state
	f, aside, err := openAside(path, &s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, s, aside
}

func TestSaveAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "state.json")
	f, s, aside := open(t, path)
	if s != nil || aside != "" {
		t.Errorf("a new file has %v, %q", s, aside)
	}
	for n := range 3 {
		if err := f.Save(state{"x": {n}}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Nobody else can use it meanwhile.
	if _, err := Open(path, 2, &s); !errors.Is(err, ErrInUse) {
		t.Errorf("a second user gets %v", err)
	}
	f.Close()
	_, s, aside = open(t, path)
	if !reflect.DeepEqual(s, state{"x": {2}}) || aside != "" {
		t.Errorf("%v, %q", s, aside)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 2 {
		t.Errorf("files are left: %v", files)
	}
}

// What can't be used is kept beside.
func TestAside(t *testing.T) {
	for content, want := range map[string]string{
		"":                             "broken",
		"{":                            "broken",
		"[]":                           "broken",
		"null":                         "no version",
		"{}":                           "no version",
		`{"version": 1}`:               "no version, or no state",
		`{"version": -1, "state": {}}`: "no version",
		`{"version": 3, "state": {"future": true}}`:           "version 3, from a later holdfast; this one knows version 2",
		`{"version": 1, "state": {"x": {"n": "1"}}}`:          "broken",
		`{"version": 1, "state": {"x": {"n": -1}}}`:           "x is negative",
		`{"version": 1, "state": {"x": {"n": 1, "more": 2}}}`: "unknown field",
		strings.Repeat(" ", maxSize+1):                        "more than 16 MiB",
	} {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, s, aside := open(t, path)
		if !strings.Contains(aside, want) || !strings.HasPrefix(aside, path) {
			t.Errorf("%.60q: %q, want %q", content, aside, want)
		}
		if s != nil {
			t.Errorf("%.60q: it has %v", content, s)
		}
		_, kept, _ := strings.Cut(aside, "it is now ")
		if before, err := os.ReadFile(kept); err != nil || string(before) != content {
			t.Errorf("%.60q: it isn't kept: %v", content, err)
		}
		if err := f.Save(state{"new": {1}}); err != nil {
			t.Error(err)
		}
		f.Close()
		if _, s, aside := open(t, path); s["new"].N != 1 || aside != "" {
			t.Errorf("%.60q: afterwards %v, %q", content, s, aside)
		}
	}
}

// A file of an earlier version, and one without a change, are read.
func TestEarlierVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte(`{"version": 1, "state": {"x": {"n": 7}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, s, aside := open(t, path); s["x"].N != 7 || aside != "" {
		t.Errorf("%v, %q", s, aside)
	}
}

// What is no folder or no file gives an error that names it, and nothing is touched.
func TestNoFile(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "is-folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "state.json"), filepath.Join(folder, "is-folder")} {
		var s state
		if f, err := Open(path, 2, &s); err == nil || !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
	f, _, _ := open(t, filepath.Join(folder, "sub", "state.json"))
	if err := os.RemoveAll(filepath.Join(folder, "sub")); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(state{}); err == nil {
		t.Error("it is written into a folder that has gone")
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"version": 1, "state": {"x": {"n": 7}}}`))
	f.Add([]byte(`{"version": 3, "state": {}}`))
	f.Add([]byte(`{"version": 2, "state": [`))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var s state
		file, aside, err := openAside(path, &s)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if aside == "" && !json.Valid(content) {
			t.Errorf("it reads %v of %q", s, content)
		}
	})
}
