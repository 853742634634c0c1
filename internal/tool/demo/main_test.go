package demo

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

// The test binary acts as holdfast: Run starts it as a server process, and the tests
// start it as a complete demo that they can kill.
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
	o := ServerOptions{Stdout: os.Stdout, Commands: os.Stdin}
	flags := flag.NewFlagSet("demo-server", flag.ExitOnError)
	flags.StringVar(&o.Name, "name", "", "")
	flags.StringVar(&o.Listen, "listen", "", "")
	_ = flags.Parse(args)
	if err := Serve(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func asParent() int {
	exe, err := os.Executable()
	if err == nil {
		err = Run(context.Background(), Options{
			Listen: "127.0.0.1:0", Servers: 2, LogLevel: "warn", Stdout: os.Stdout, Executable: exe, Balance: balance,
		})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// balance starts the same balancer as the command.
func balance(file string) (Balancer, error) {
	return app.Start(app.Options{
		Load: func() (*config.Config, error) { return yaml.Load(file) }, File: file, LogTo: io.Discard,
	})
}
