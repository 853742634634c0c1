package service

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// manager stands for systemd: it has sockets, and reads what the balancer says.
type manager struct {
	t     *testing.T
	path  string
	log   testkit.Log // the messages, a line for each, with spaces instead of newlines
	names []string
	files []*os.File
}

func startManager(t *testing.T) *manager {
	m := &manager{t: t, path: filepath.Join(filepath.Dir(testkit.SocketPath(t)), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			fmt.Fprintln(&m.log, strings.ReplaceAll(string(buf[:n]), "\n", " "))
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return m
}

// give adds a socket for the next process.
func (m *manager) give(name string, from interface{ File() (*os.File, error) }) {
	m.t.Helper()
	f, err := from.File()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	m.names, m.files = append(m.names, name), append(m.files, f)
}

// listen opens a socket for the next process, and returns its address.
func (m *manager) listen(name, network, address string) string {
	m.t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { ln.Close() })
	m.give(name, ln.(interface{ File() (*os.File, error) }))
	return ln.Addr().String()
}

// start starts a balancer as systemd does: the shell becomes the balancer, so that the
// process has the id that LISTEN_PID tells.
func (m *manager) start(file string, env ...string) *process.Process {
	m.t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", kit.Binary, "run", "-c", file)
	cmd.ExtraFiles = m.files
	cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+m.path, "LISTEN_FDS="+strconv.Itoa(len(m.files)),
		"LISTEN_FDNAMES="+strings.Join(m.names, ":")), env...)
	cmd.Env = append(cmd.Env, folders(m.t)...)
	return process.Start(m.t, "holdfast", cmd)
}

// folders are those of the unit's RuntimeDirectory= and StateDirectory=.
func folders(t *testing.T) (env []string) {
	return []string{"RUNTIME_DIRECTORY=" + filepath.Dir(testkit.SocketPath(t)), "STATE_DIRECTORY=" + t.TempDir()}
}

// told waits for a message that has all words, and returns it.
func (m *manager) told(position int, words ...string) string {
	m.t.Helper()
	return m.log.Find(m.t, fmt.Sprintf("message with %q", words), position, func(line string) bool {
		for _, w := range words {
			if !strings.Contains(line, w) {
				return false
			}
		}
		return true
	})
}

func file(engine, listeners string, backends []*kit.Backend, more string) string {
	text := kit.Settings{Engine: engine, Backends: kit.Addresses(backends), More: more}.YAML()
	_, rest, _ := strings.Cut(text, "\n")
	return "listeners: [" + listeners + "]\n" + rest
}

// at is a file with an admin address.
func at(admin, engine, listeners string, backends []*kit.Backend, more string) string {
	return strings.Replace(file(engine, listeners, backends, more), `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf("admin: {address: %q}", admin), 1)
}

func dial(t *testing.T, network, address string) *wspeer.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	return wspeer.NewClient(conn)
}

func open(t *testing.T, network, address string) *wspeer.Conn {
	t.Helper()
	w := dial(t, network, address)
	if _, err := w.Handshake("chat.example", "/echo", nil); err != nil {
		t.Fatal(err)
	}
	kit.WantEcho(t, w, "hello")
	return w
}

// TestSockets: the balancer accepts on sockets of systemd, by address and by name, over
// reloads. A client that comes between two processes waits for the second.
func TestSockets(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		backends := kit.StartBackends(t, 1)
		m := startManager(t)
		path := testkit.SocketPath(t)
		byName := m.listen("public", "tcp", "127.0.0.1:0")
		m.listen("holdfast.socket", "unix", path)
		byAddress := m.listen("holdfast.socket", "tcp", "127.0.0.1:0")
		wildcard := m.listen("holdfast.socket", "tcp", ":0")
		admin := m.listen("holdfast.socket", "tcp", "127.0.0.1:0")
		spare := m.listen("spare", "tcp", "127.0.0.1:0")
		_, port, _ := net.SplitHostPort(wildcard)
		listeners := fmt.Sprintf(`{name: public, address: ":1"}, {address: "unix:%s"}, {address: %q}, {address: ":%s"}, {address: "127.0.0.1:0"}`, path, byAddress, port)

		b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
		b.WriteConfig(t, at(admin, engine, listeners, backends, "\nshutdown: {delay: 0}\ntimeouts: {shutdown: 20s}"))
		b.Process = m.start(b.File)
		b.AwaitReady(t)
		if b.Admin != admin {
			t.Errorf("the admin interface is at %s, want %s", b.Admin, admin)
		}
		b.Pool(t, "main")
		m.told(0, "READY=1", "STATUS=sessions: 0, backends up: 1 of 1")
		got := fmt.Sprint(b.FindLog(t, "started", 0)["listeners"])
		if want := fmt.Sprintf("[%s unix:%s %s [::]:%s 127.0.0.1:", byName, path, byAddress, port); !strings.HasPrefix(got, want) {
			t.Errorf("listeners %s, want %s…", got, want)
		}
		if !b.Stderr.Contains("systemd gave the socket "+spare+" (spare), which no listener uses") || b.Stderr.Count("systemd gave") != 1 {
			t.Error("not one warning, about the socket that nobody uses")
		}
		sessions := []*wspeer.Conn{open(t, "tcp", byName), open(t, "unix", path), open(t, "tcp", byAddress), open(t, "tcp", "127.0.0.1:"+port)}

		// A reload keeps the sockets. A new listener takes the one that is left, and one
		// that goes away leaves its socket.
		position := m.log.Position()
		listeners = strings.Replace(listeners, fmt.Sprintf("{address: %q}", byAddress), fmt.Sprintf("{address: %q}", spare), 1)
		b.WriteConfig(t, at(admin, engine, listeners, backends, "\nshutdown: {delay: 0}\ntimeouts: {shutdown: 20s}"))
		b.Reload(t, kit.Reloaded)
		began := m.told(position, "RELOADING=1", "MONOTONIC_USEC=")
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		_, usec, _ := strings.Cut(began, "MONOTONIC_USEC=")
		if when, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64); err != nil || when <= 0 || when > now.Nano()/1000 {
			t.Errorf("%q at %d", began, now.Nano()/1000)
		}
		m.told(position, "READY=1")
		if !b.Stderr.Contains("systemd gave the socket " + byAddress + " (holdfast.socket), which no listener uses") {
			t.Error("no warning about the socket that nobody uses any more")
		}
		sessions = append(sessions, open(t, "tcp", spare), open(t, "tcp", byName))
		for _, w := range sessions {
			kit.WantEcho(t, w, "still there")
		}

		position = m.log.Position()
		b.WriteConfig(t, "listeners: nonsense\n")
		b.Reload(t, kit.ReloadRefused)
		m.told(position, "READY=1", "the last reload was refused, see the log")

		for _, w := range sessions {
			w.Close()
		}
		b.AwaitSessions(t, 0)
		b.Signal(t, syscall.SIGTERM)
		m.told(position, "STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000", "STATUS=shutting down")
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d", status)
		}
		early := dial(t, "tcp", byName)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("systemd's unix socket after the end: %v", err)
		}
		b.WriteConfig(t, at(admin, engine, listeners, backends, ""))
		b.Process = m.start(b.File)
		if _, err := early.Handshake("chat.example", "/echo", nil); err != nil {
			t.Errorf("a client that came between two processes: %v", err)
		}
		open(t, "unix", path)
	})
}

// TestBadSocket: what isn't a listening socket is an error that says where it comes from.
func TestBadSocket(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 1)
	m := startManager(t)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	m.give("dns", udp)
	b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.WriteConfig(t, file("epoll", `{address: "127.0.0.1:0"}`, backends, ""))
	b.Process = m.start(b.File)
	if status := b.Wait(t, testkit.Patience); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if want := `systemd gave a descriptor "dns" that isn't a listening stream socket: the socket unit needs ListenStream= and Accept=no`; !b.Stderr.Contains(want) {
		t.Errorf("%q, want %q", b.Stderr.String(), want)
	}
}

// TestWatchdog: the balancer says that it works, twice in each period.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 1)
	m := startManager(t)
	b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	b.WriteConfig(t, file("epoll", `{address: "127.0.0.1:0"}`, backends, ""))
	b.Process = m.start(b.File, "WATCHDOG_USEC=20000")
	testkit.Eventually(t, "five signs of life", func() bool { return m.log.Count("WATCHDOG=1") >= 5 })
	b.Signal(t, syscall.SIGTERM)
	if status := b.Wait(t, testkit.Patience); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSocketActivate: systemd's own program starts the balancer when the first client
// comes.
func TestSocketActivate(t *testing.T) {
	t.Parallel()
	backends := kit.StartBackends(t, 1)
	const address = "127.83.0.1:8080" // of this test only
	b := &kit.Balancer{File: filepath.Join(t.TempDir(), "holdfast.yaml")}
	// The program passes no environment on, so the admin socket would be the machine's.
	text := file("epoll", `{name: public, address: ":8080"}`, backends, "")
	b.WriteConfig(t, strings.Replace(text, "admin: {", "admin: {socket: off, state: off, ", 1))
	b.Process = process.Start(t, "systemd-socket-activate", exec.Command("systemd-socket-activate", "-l", address, "--fdname=public", kit.Binary, "run", "-c", b.File))
	b.Stderr.Find(t, "the listening socket", 0, func(line string) bool { return strings.HasPrefix(line, "Listening on") })
	open(t, "tcp", address)
	b.AwaitReady(t)
	if b.Address != address {
		t.Errorf("listens on %s", b.Address)
	}
}
