//go:build unix

package unixsock_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/unixsock"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// files are the names of what is in the folder of path.
func files(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestListen(t *testing.T) {
	path := testkit.SocketPath(t)
	for _, mode := range []fs.FileMode{0o660, 0o600, 0o777} {
		ln, remove, err := unixsock.Listen(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		at, err := os.Stat(path)
		if err != nil || at.Mode() != mode|fs.ModeSocket {
			t.Errorf("%v, %v, want %v", at.Mode(), err, mode)
		}
		if got := files(t, path); len(got) != 1 {
			t.Errorf("files %q", got)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, _, err := unixsock.Listen(path, mode); err == nil || !strings.Contains(err.Error(), "another process listens there") {
			t.Errorf("a second one: %v", err)
		}
		remove()
		ln.Close()
		if got := files(t, path); len(got) != 0 {
			t.Errorf("left behind: %q", got)
		}
	}
}

// TestListenAfterACrash: the file of a process that has ended is replaced, and nothing
// else is.
func TestListenAfterACrash(t *testing.T) {
	path := testkit.SocketPath(t)
	old, _, err := unixsock.Listen(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	old.Close() // its file stays
	ln, remove, err := unixsock.Listen(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// Another process has taken the path over since.
	os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	remove()
	if got := files(t, path); len(got) != 1 {
		t.Errorf("files %q, want that of the other process", got)
	}
	if _, _, err := unixsock.Listen(path, 0o660); err == nil || !strings.Contains(err.Error(), "isn't a socket") {
		t.Errorf("on a file: %v", err)
	}
	if _, _, err := unixsock.Listen(filepath.Join(path, "no", "such", "folder"), 0o660); err == nil {
		t.Error("in a folder that doesn't exist")
	}
}

// TestListenAtOnce: of several that find the file of a process that has ended, one has the
// path in the end, and the others know that they don't.
func TestListenAtOnce(t *testing.T) {
	for range 20 {
		path := testkit.SocketPath(t)
		old, _, err := unixsock.Listen(path, 0o660)
		if err != nil {
			t.Fatal(err)
		}
		old.Close() // its file stays
		const most = 8
		winners, losers := make(chan *net.UnixListener, most), make(chan error, most)
		var all sync.WaitGroup
		for range most {
			all.Go(func() {
				if ln, _, err := unixsock.Listen(path, 0o660); err == nil {
					winners <- ln
				} else {
					losers <- err
				}
			})
		}
		all.Wait()
		close(losers)
		for err := range losers {
			if !strings.Contains(err.Error(), "another process listens there") {
				t.Errorf("a loser: %v", err)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%d have the path", len(winners))
		}
		(<-winners).Close()
		if got := files(t, path); len(got) != 1 {
			t.Errorf("files %q", got)
		}
	}
}

// TestListenLongPath: there is no room for another name beside it.
func TestListenLongPath(t *testing.T) {
	dir := filepath.Dir(testkit.SocketPath(t))
	path := filepath.Join(dir, strings.Repeat("a", 102-len(dir)))
	for range 2 {
		ln, _, err := unixsock.Listen(path, 0o660)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
	}
	if got := files(t, path); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}
