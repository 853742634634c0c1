//go:build linux

// Package container starts programs with volumes, in the place of a container runtime.
// The program of the tests is started as a container: before anything else, it mounts
// what the container is to see, and becomes the container's program.
package container

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// env has the Spec of a container, as JSON.
const env = "HOLDFAST_LAB_CONTAINER"

// Spec is what a container is to be.
type Spec struct {
	Root     string // an empty folder; where the container's root is mounted while it is made
	Mounts   []Mount
	Hostname string // "" for the machine's
	Dir      string // the working directory; "" is /
	Path     string
	Args     []string
	Env      []string
}

// Mount shows a file or folder of the machine at a path of the container.
type Mount struct{ Source, Target string }

// Command returns a command that becomes the container's program, in mount and UTS
// namespaces of its own, and in a process group of its own.
func (s Spec) Command() (*exec.Cmd, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = []string{env + "=" + string(text), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	return cmd, nil
}

// The initialization of this package comes before that of most others, since it imports
// only the standard library.
func init() {
	text, ok := os.LookupEnv(env)
	if !ok {
		return
	}
	var s Spec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.become()
	}
	fmt.Fprintln(os.Stderr, "starting the container:", err)
	os.Exit(127)
}

// become replaces this process by the container's program. It returns only an error.
func (s Spec) become() error {
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("setting the host name: %w", err)
		}
	}
	if len(s.Mounts) > 0 {
		if err := s.enter(); err != nil {
			return err
		}
	}
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	path := s.Path
	if !strings.Contains(path, "/") {
		var err error
		if path, err = exec.LookPath(path); err != nil {
			return err
		}
	}
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, append([]string{s.Path}, s.Args...), s.Env)}
}

// enter makes a root that shows the machine's files, with the mounts in their places,
// and changes to it. The machine's own folders stay as they are.
func (s Spec) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	tree := &node{}
	for _, m := range s.Mounts {
		tree.add(resolve(m.Target), m.Source)
	}
	if err := tree.mirror("/", s.Root); err != nil {
		return err
	}
	if err := os.Chdir(s.Root); err != nil {
		return err
	}
	// As pivot_root(2) explains, this stacks the old root on the new one, and removes it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// resolve follows the symbolic links of the part of a path that exists.
func resolve(path string) string {
	rest := ""
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest)
		}
		rest = filepath.Join(filepath.Base(path), rest)
	}
}

// node is a folder that has mounts in it, or a mount.
type node struct {
	source   string // of a mount
	children map[string]*node
}

// add puts a mount into the tree.
func (n *node) add(target, source string) {
	for part := range strings.SplitSeq(strings.Trim(target, "/"), "/") {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		if n.children[part] == nil {
			n.children[part] = &node{}
		}
		n = n.children[part]
	}
	n.source = source
}

// mirror fills the folder to: with what the folder from has, and with the node's mounts.
func (n *node) mirror(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for name := range n.children {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		source, target := filepath.Join(from, name), filepath.Join(to, name)
		child := n.children[name]
		switch {
		case child == nil:
			err = bind(source, target)
		case child.source != "" && child.children == nil:
			err = bind(child.source, target)
		default: // what is mounted below a mount is seen in a copy of its folder
			if child.source != "" {
				source = child.source
			}
			if err = os.Mkdir(target, 0o755); err == nil {
				err = child.mirror(source, target)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bind shows source at target, which doesn't exist yet.
func bind(source, target string) error {
	info, err := os.Lstat(source)
	if err != nil {
		if os.IsNotExist(err) { // it was removed meanwhile
			return nil
		}
		return err
	}
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		link, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(link, target)
	case info.IsDir():
		err = os.Mkdir(target, 0o755)
	default:
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, target, err)
	}
	return nil
}
