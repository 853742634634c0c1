package cli

type demoCommand struct {
	Listen  string `default:"127.0.0.1:8080" placeholder:"ADDRESS" help:"Address of the balancer and of the page (default 127.0.0.1:8080)."`
	Servers int    `default:"3" placeholder:"N" help:"Chat servers to start, 1 to 9 (default 3)."`
	Guests  int    `default:"60" placeholder:"N" help:"Sessions that the demo opens itself, 0 to 1000, so that there is something to watch (default 60)."`
	Redis   string `placeholder:"URL" help:"Redis server for the chat servers, such as redis://localhost:6379 (default: one that is built in)."`
	Admin   string `default:"127.0.0.1:0" placeholder:"ADDRESS" help:"Admin address of the balancer, with its dashboard, status and metrics (default: any free port of 127.0.0.1)."`
	Log     string `default:"warn" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Level of the balancer's log: debug, info, warn or error (default warn)."`
}

// Help is kong's detailed help.
func (*demoCommand) Help() string {
	return `Open the page that it prints. On the page you can drain, kill and add servers, and
watch the sessions; it links to the balancer's dashboard. You can also kill one of the
processes that it prints. Anyone who can open the page can do the same.

  holdfast demo
  holdfast demo --servers 5 --admin 127.0.0.1:9900

Everything runs on this machine. Ctrl-C stops it.`
}

type demoServerCommand struct {
	Name   string `required:""`
	Listen string `required:""`
}
