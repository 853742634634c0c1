//go:build linux

package switching

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// tallyEnv is set in a test that runs in its own namespaces: the file for its tally.
const tallyEnv = "HOLDFAST_SWITCHING_TALLY"

// inside reports whether this process runs in the namespaces of a test.
func inside() bool { return os.Getenv(tallyEnv) != "" }

// isolated runs a test in a process of its own, with its own network, process numbers and
// mounts. Whatever it starts ends with it. isolated returns what the test has counted.
func isolated(t *testing.T, run func(t *testing.T) *tally) *tally {
	t.Helper()
	if inside() {
		setUp(t)
		counted := run(t)
		text, err := json.Marshal(counted)
		if err == nil {
			err = os.WriteFile(os.Getenv(tallyEnv), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return counted
	}
	t.Parallel()
	var pattern []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	result := filepath.Join(t.TempDir(), "tally")
	cmd := exec.Command(os.Args[0], "-test.run="+strings.Join(pattern, "/"), "-test.timeout=10m")
	cmd.Env = append(os.Environ(), tallyEnv+"="+result, "HOLDFAST_E2E_BINARY="+kit.Binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // as process 1 of its namespace, it takes all others with it
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that has started it
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	if cmd.ProcessState == nil {
		t.Fatalf("no namespaces: %v. These tests need root, or a system where users may create namespaces: "+
			"sysctl kernel.apparmor_restrict_unprivileged_userns=0, if there is that setting", err)
	}
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	counted := &tally{}
	text, err := os.ReadFile(result)
	if err == nil {
		err = json.Unmarshal(text, counted)
	}
	if err != nil {
		t.Fatal(err)
	}
	return counted
}

// nameserverAddress is where the resolver of the namespaces asks.
const nameserverAddress = "127.0.0.1:53"

// setUp makes the namespaces look like the machine that the files were written for: every
// IPv4 address is its own, and the folders that servers write to are empty.
func setUp(t *testing.T) {
	t.Helper()
	for _, args := range []string{"link set lo up", "route add local 0.0.0.0/0 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for _, name := range []string{"/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/nginx"} {
		keep(t, kept, name)
	}
	for _, dir := range []string{"/etc", "/run", "/var/log", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatalf("mounting %s: %v", dir, err)
		}
	}
	for name, text := range kept {
		write(t, name, text)
	}
	write(t, "/etc/resolv.conf", "nameserver "+strings.TrimSuffix(nameserverAddress, ":53")+"\n")
	write(t, "/etc/hosts", "127.0.0.1 localhost\n")
	write(t, "/etc/nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\n")
	for _, dir := range []string{"/run/haproxy", "/var/log/nginx", "/var/lib/nginx", "/var/lib/haproxy"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// keep reads a file, or all of a folder, through symbolic links.
func keep(t *testing.T, files map[string]string, name string) {
	t.Helper()
	err := filepath.WalkDir(name, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a file, with its folders.
func write(t testing.TB, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serveNames makes names resolve to addresses.
func serveNames(t *testing.T, addresses map[string][]string) {
	t.Helper()
	var records []string
	for name, all := range addresses {
		for _, address := range all {
			records = append(records, fmt.Sprintf("%s. 60 IN A %s", name, address))
		}
	}
	nameserver.StartAt(t, nameserverAddress, records...)
}
