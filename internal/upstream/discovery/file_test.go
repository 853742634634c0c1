//go:build unix

package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// put writes a file as if that had happened long ago, so that only its info shows that
// it has changed.
func put(t *testing.T, path, text string, minute int) {
	t.Helper()
	write(t, path, text)
	at := time.Date(1999, 1, 1, 0, minute, 0, 0, time.UTC)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		file := filepath.Join(t.TempDir(), "b.json")
		put(t, file, `[{"address": "a:1"}]`, 0)
		w.Apply(map[string]Spec{"chat": {File: file}}, time.Second)
		w.wantMembers("chat", "a:1")
		sleep(time.Minute)
		w.wantChanges()
		for i, text := range []string{ // of one size
			`[{"address": "b:1"}]`,
			`[{"address": "c:1"}]`,
		} {
			put(t, file, text, i+1)
			sleep(1100 * time.Millisecond)
			w.wantMembers("chat", string(rune('b'+i))+":1")
			w.wantChanges("chat")
		}

		// Another file with the same time and size.
		other := file + ".new"
		put(t, other, `[{"address": "d:1"}]`, 2)
		if err := os.Rename(other, file); err != nil {
			t.Fatal(err)
		}
		sleep(1100 * time.Millisecond)
		w.wantMembers("chat", "d:1")

		// Nothing is different: it isn't read.
		put(t, file, `[{"address": "e:1"}]`, 2)
		sleep(time.Minute)
		w.wantMembers("chat", "d:1")
		if s := w.States()[0]; time.Since(s.Answered) > time.Second {
			t.Errorf("state %+v, want an answer of now", s)
		}
		w.log.take()

		// A file that was just written is read again, so that a second write in
		// the same tick of the clock isn't missed.
		now := time.Now()
		write(t, file, `[{"address": "f:1"}]`)
		os.Chtimes(file, now, now)
		sleep(1100 * time.Millisecond)
		write(t, file, `[{"address": "g:1"}]`)
		os.Chtimes(file, now, now)
		sleep(1100 * time.Millisecond)
		w.wantMembers("chat", "g:1")
	})
}

func TestFileErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		file := filepath.Join(t.TempDir(), "b.json")
		warn := func(why, consequence string) string {
			return fmt.Sprintf("level=WARN msg=\"pool chat: file %s: %s; %s\"\n", file, why, consequence)
		}
		good := fmt.Sprintf("level=INFO msg=\"pool chat: file %s is good again: 1 backend\"\n", file)
		const none, last = "no backends from there until it is fixed", "going on with the last list, 1 backend"

		// At the start, an error is reported at once.
		w.Apply(map[string]Spec{"chat": {File: file}}, time.Second)
		w.wantLog(warn(file+": no such file or directory", none))
		sleep(time.Minute)
		w.wantLog("")
		put(t, file, `[{"address": "a:1"}]`, 0)
		sleep(time.Second)
		w.wantMembers("chat", "a:1")
		w.wantLog(good)

		// Half written for a moment.
		put(t, file, `[{"addr`, 1)
		sleep(time.Second)
		put(t, file, `[{"address": "b:1"}]`, 2)
		sleep(time.Second)
		w.wantMembers("chat", "b:1")
		w.wantLog(fmt.Sprintf("level=INFO msg=\"pool chat: file %s changed: 1 backend, 1 new, 1 gone\"\n", file))

		// Broken for longer: each error is logged once.
		put(t, file, "[\n {\"adress\": \"a:1\"}]", 3)
		sleep(2 * time.Second)
		w.wantLog(warn(file+":2:3: unknown key 'adress': a backend has name, address, weight, max_sessions, health_port and backup", last))
		sleep(time.Minute)
		w.wantLog("")
		if s := w.States()[0]; time.Since(s.Since) < time.Minute || !strings.Contains(s.LastError, "b.json:2:3") {
			t.Errorf("state %+v", s)
		}
		put(t, file, `[]`, 4)
		sleep(2 * time.Second)
		w.wantLog(warn(file+":1:1: the list is empty: a pool needs at least one backend", last))
		os.Remove(file)
		sleep(2 * time.Second)
		w.wantLog(warn(file+": no such file or directory", last))
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Second)
		w.wantLog(warn(file+": not a regular file", last))
		os.Remove(file)
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute) // not waiting for somebody to write into it
		w.wantLog("")
		os.Remove(file)
		put(t, file, strings.Repeat(" ", maxFileSize+1), 5)
		sleep(2 * time.Second)
		w.wantLog(warn(file+": larger than 4 MiB", last))
		w.wantMembers("chat", "b:1")

		put(t, file, `[{"address": "b:1"}]`, 6)
		sleep(time.Second)
		w.wantLog(good)
		sleep(time.Second)
		w.takeChanges()
	})
}

// Kubernetes replaces the target of a link: b.json is a link to ..data/b.json, and
// ..data one to the directory of a version.
func TestFileBehindLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		dir := t.TempDir()
		file := filepath.Join(dir, "b.json")
		publish := func(version, text string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, version, "b.json"), text, 0)
			if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("..1", `[{"address": "a:1"}]`)
		if err := os.Symlink("..data/b.json", file); err != nil {
			t.Fatal(err)
		}
		w.Apply(map[string]Spec{"chat": {File: file}}, time.Second)
		w.wantMembers("chat", "a:1")
		publish("..2", `[{"address": "b:1"}]`)
		sleep(1100 * time.Millisecond)
		w.wantMembers("chat", "b:1")
		w.wantChanges("chat")
	})
}
