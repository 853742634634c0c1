//go:build unix

package demo

import (
	"io"
	"net"
	"os"
	"testing"
)

func TestRunErrors(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inUse, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	tests := []struct {
		name, fail string
		options    Options
		want       string
	}{
		{"no servers", "", Options{Executable: exe}, "demo: 0 servers: must be 1 to 9"},
		{"no such binary", "", Options{Executable: "/nowhere/holdfast", Servers: 1},
			"demo: server chat-1: fork/exec /nowhere/holdfast: no such file or directory"},
		{"server that fails", "yes", Options{Executable: exe, Servers: 2},
			"demo: server chat-1 did not start: broken on purpose"},
		{"port in use", "", Options{Executable: exe, Servers: 1, Listen: inUse.Addr().String()},
			`listener "` + inUse.Addr().String() + `": listen tcp ` + inUse.Addr().String() + ": bind: address already in use"},
		{"no URL", "", Options{Executable: exe, Servers: 1, Redis: "localhost:6379"},
			"demo: --redis: redis: invalid URL scheme: localhost"},
		{"no Redis", "", Options{Executable: exe, Servers: 1, Redis: "redis://" + nobody.Addr().String()},
			"demo: --redis " + nobody.Addr().String() + ": dial tcp " + nobody.Addr().String() + ": connect: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TEST_DEMO_BROKEN", tt.fail)
			tt.options.Stdout, tt.options.LogLevel, tt.options.Balance = io.Discard, "warn", balance
			if err := Run(t.Context(), tt.options); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
