//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/holdfast-ws/holdfast/kubernetes/lab/names"
)

// insideEnv is set in a process that runs in namespaces of its own.
const insideEnv = "HOLDFAST_LAB_INSIDE"

// Main runs the tests of a package in a process with network, mount and process namespaces
// of its own, stops the cluster after them, and fails if goroutines are left over. It is
// what a package's TestMain calls, and doesn't return.
func Main(m *testing.M, options ...goleak.Option) {
	if os.Getenv(insideEnv) == "" {
		os.Exit(outside())
	}
	if err := arrive(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	// What libraries log is of interest only when a test fails.
	klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&shared.notes))))
	log.SetLogger(klog.Background())
	goleak.VerifyTestMain(stopping{m}, options...)
}

// stopping stops the cluster after the tests.
type stopping struct{ m *testing.M }

func (s stopping) Run() int {
	code := s.m.Run()
	if err := errors.Join(shared.stop(), forgetBuilds()); err != nil {
		fmt.Fprintln(os.Stderr, "lab: stopping the cluster:", err)
		code = max(code, 1)
	}
	return code
}

// outside starts this program again, with the same arguments, in new namespaces.
func outside() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
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
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintf(os.Stderr, "lab: no namespaces: %v. These tests need root, or a system where users may create namespaces: "+
			"sysctl kernel.apparmor_restrict_unprivileged_userns=0, if there is that setting\n", err)
		return 1
	}
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	fmt.Fprintln(os.Stderr, "lab: the tests ended by a signal:", cmd.ProcessState)
	return 1
}

// arrive makes the mounts of the new namespaces.
func arrive() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// Process numbers are those of the new namespace. Where that may not be mounted, as
	// in some containers, /proc shows those of the machine, and still has what is needed.
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	resolv, err := filepath.EvalSymlinks("/etc/resolv.conf") // often in /run
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	if err != nil {
		return nil // without this file, programs ask 127.0.0.1
	}
	return nameserver(resolv)
}

// nameserver has programs ask the laboratory's DNS server, by the content of a file.
func nameserver(path string) error {
	text := "nameserver " + strings.TrimSuffix(names.Address, ":53") + "\nsearch svc.cluster.local cluster.local\noptions ndots:5\n"
	if strings.HasPrefix(path, "/run/") {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o644)
	}
	own := "/run/resolv.conf"
	if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", path, err)
	}
	return nil
}
