package layer4

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestVanishedPeer: a peer whose network is gone says nothing, not even that it ends. Its
// session ends by keepalive; one that is only silent goes on.
func TestVanishedPeer(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		backend, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer backend.Close()
		b := kit.StartBalancer(t, file(engine, `{name: raw, address: "127.0.0.1:0", mode: tcp}`,
			fmt.Sprintf("all: {backends: [{address: %q}]}", backend.Addr()))+"keepalive: {interval: 1s, timeout: 1s}\n")
		open := func() (client, server net.Conn) {
			t.Helper()
			client, err := net.Dial("tcp", b.Address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			fmt.Fprint(client, "hello")
			if server, err = backend.Accept(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { server.Close() })
			if _, err := io.ReadFull(server, make([]byte, len("hello"))); err != nil {
				t.Fatal(err)
			}
			return client, server
		}
		silentClient, silentServer := open()
		for _, cause := range []string{"client_lost", "backend_lost"} {
			gone, other := open()
			if cause == "backend_lost" {
				gone, other = other, gone
			}
			deafen(t, gone)
			other.SetReadDeadline(time.Now().Add(testkit.Patience))
			if _, err := io.Copy(io.Discard, other); err != nil {
				t.Errorf("%s: the other side sees %v", cause, err)
			}
			b.FindLog(t, "session closed", 0, "cause="+cause)
		}
		// It has answered all the time.
		for _, pair := range [][2]net.Conn{{silentClient, silentServer}, {silentServer, silentClient}} {
			fmt.Fprint(pair[0], "still here")
			pair[1].SetReadDeadline(time.Now().Add(testkit.Patience))
			if _, err := io.ReadFull(pair[1], make([]byte, len("still here"))); err != nil {
				t.Errorf("the silent session has ended: %v", err)
			}
			pair[0].(*net.TCPConn).CloseWrite()
		}
		b.AwaitSessions(t, 0)
		b.Stop(t)
	})
}

// deafen makes the kernel drop all that comes for a connection: it answers nothing any
// more, as if its network were gone.
func deafen(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}
