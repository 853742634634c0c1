package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

type loopStatus struct {
	Engine            string
	Loops, Processors int
}

func loops(t testing.TB, b *kit.Balancer) (s loopStatus) {
	t.Helper()
	_, body := b.Get(t, "/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

// There are as many loops as processors that the process may use when it
// starts. If that changes, everything except the number of loops follows.
func TestLoopsAreWhatTheProcessMayUse(t *testing.T) {
	backends := kit.StartBackends(t, 1)
	file := kit.Settings{Engine: "epoll", Backends: kit.Addresses(backends), More: ""}.YAML()

	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil { // children inherit it
		t.Fatal(err)
	}
	b := kit.StartBalancer(t, file)
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	if got := loops(t, b); got != (loopStatus{"epoll", 1, 1}) {
		t.Errorf("on one processor: %+v", got)
	}

	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(b.Cmd.Process.Pid), "task", "*"))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			t.Fatal(err)
		}
		unix.SchedSetaffinity(id, &all) // one that has ended meanwhile is no matter
	}
	want := loopStatus{"epoll", 1, all.Count()}
	testkit.Eventually(t, "all processors are used", func() bool { return loops(t, b) == want })

	limited := &kit.Balancer{File: b.File}
	cmd := exec.Command(kit.Binary, "run", "-c", b.File)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=3")
	limited.Process = process.Start(t, "holdfast", cmd)
	limited.AwaitReady(t)
	if got := loops(t, limited); got != (loopStatus{"epoll", 3, 3}) {
		t.Errorf("with GOMAXPROCS=3: %+v", got)
	}
}
