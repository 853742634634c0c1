package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary stands in for holdfast: Run starts it as a server process,
// and the tests start it as a whole demo that they can kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "demo-server":
			os.Exit(asServer(os.Args[2:]))
		case "demo-parent":
			os.Exit(asParent())
		}
	}
	goleak.VerifyTestMain(m)
}

func asServer(args []string) int {
	if os.Getenv("TEST_DEMO_BROKEN") != "" {
		fmt.Fprintln(os.Stderr, "broken on purpose")
		return 3
	}
	o := ServerOptions{Stdout: os.Stdout}
	flags := flag.NewFlagSet("demo-server", flag.ExitOnError)
	flags.StringVar(&o.Name, "name", "", "")
	flags.StringVar(&o.Listen, "listen", "", "")
	flags.StringVar(&o.Hub, "hub", "", "")
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := Serve(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func asParent() int {
	exe, err := os.Executable()
	if err == nil {
		err = Run(context.Background(), Options{
			Listen: "127.0.0.1:0", Servers: 2, Stdout: os.Stdout, Executable: exe, Balance: forward,
		})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// forward is a trivial balancer: TCP connections go round robin to the
// backends that accept them.
func forward(ctx context.Context, listen string, backends []Backend, ready func(string)) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	ready(l.Addr().String())
	var running sync.WaitGroup
	defer running.Wait()
	for i := 0; ; i++ {
		front, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		running.Go(func() {
			defer front.Close()
			for j := range backends {
				back, err := net.DialTimeout("tcp", backends[(i+j)%len(backends)].Address, time.Second)
				if err == nil {
					pipe(ctx, front, back)
					return
				}
			}
		})
	}
}

// pipe copies both ways until one side ends or ctx is done.
func pipe(ctx context.Context, front, back net.Conn) {
	both := func() { front.Close(); back.Close() }
	defer both()
	defer context.AfterFunc(ctx, both)()
	var running sync.WaitGroup
	running.Go(func() { defer both(); _, _ = io.Copy(back, front) })
	_, _ = io.Copy(front, back)
	both()
	running.Wait()
}
