//go:build unix

package kit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
)

// packageRole makes this test binary an echo server with the package backend. It
// prints its address, and the package logs to standard error.
const packageRole = "package-backend"

// Options of the package backend, and what follows from them.
const (
	PackageNotice   = 4 * time.Second
	PackageTimeout  = 9 * time.Second
	PackageSpread   = (PackageTimeout - PackageNotice) * 4 / 5
	PackageSessions = 400
)

func servePackage() int {
	kit := backend.New(backend.Options{Notice: PackageNotice, DrainTimeout: PackageTimeout})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(l.Addr())
	err = kit.Serve(context.Background(), l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		leave := kit.Join(r, func(code int, reason string) { conn.Close(websocket.StatusCode(code), reason) })
		defer leave()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// StartPackageBackend starts an echo server with the package backend.
func StartPackageBackend(t testing.TB, name string) *Backend {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), RoleEnv+"="+packageRole)
	b := &Backend{Process: process.Start(t, "backend "+name, cmd)}
	b.Address = b.Stdout.Find(t, "address", 0, func(string) bool { return true })
	return b
}
