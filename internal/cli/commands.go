package cli

import (
	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/cli/operate"
)

const description = `holdfast is a load balancer for WebSockets. A reload doesn't affect live sessions.
Drains and shutdowns close sessions with a close code, spread over time; drains
can also move sessions to other backends.

To try it:

  holdfast demo
      three chat servers behind a balancer, to drain and kill by hand

  holdfast run --listen :8080 --backend 127.0.0.1:3001 --backend 127.0.0.1:3002
      a balancer in front of your own servers, without a configuration file

To run it with a configuration file (docs/config.md lists every key):

  holdfast check -c holdfast.yaml
  holdfast run -c holdfast.yaml
  holdfast reload

To use the configuration of another balancer (docs/migrate.md):

  holdfast run -c nginx.conf
  holdfast import nginx nginx.conf -o holdfast.yaml

"holdfast help COMMAND" shows the help of a command.`

// Groups of commands and flags in the help.
var groups = []kong.Group{
	{Key: "run", Title: "Run a balancer:"},
	{Key: "see", Title: "See what a running balancer does:"},
	{Key: "change", Title: "Change a running balancer:"},
	{Key: "test", Title: "Try and test:"},
	{Key: "shell", Title: "About holdfast:"},
	{Key: "filter", Title: "Which sessions:"},
	{Key: "reach", Title: "How to reach the balancer:"},
}

type commands struct {
	Run    runCommand    `cmd:"" group:"run" help:"Run the balancer."`
	Check  checkCommand  `cmd:"" group:"run" help:"Check a configuration file and report all its errors."`
	Import importCommand `cmd:"" group:"run" help:"Write the configuration of another balancer as a holdfast.yaml."`
	Schema schemaCommand `cmd:"" group:"run" help:"Print a JSON Schema of configuration files, for editors."`

	Status       operate.Status       `cmd:"" group:"see" help:"Show the backends and sessions."`
	Top          operate.Top          `cmd:"" group:"see" help:"Watch it in the terminal, find and close sessions, drain backends."`
	Sessions     operate.Sessions     `cmd:"" group:"see" help:"List live sessions, or show one."`
	Events       operate.Events       `cmd:"" group:"see" help:"Show what happened, and what happens."`
	Routes       operate.Routes       `cmd:"" group:"see" help:"List the routes."`
	Certificates operate.Certificates `cmd:"" group:"see" help:"List the certificates and when they expire."`

	Reload   operate.Reload   `cmd:"" group:"change" help:"Reload the configuration."`
	Drain    operate.Drain    `cmd:"" group:"change" help:"Drain a backend, so that it can be restarted or removed."`
	Undrain  operate.Undrain  `cmd:"" group:"change" help:"End a drain: the backend gets new sessions again."`
	Maint    operate.Maint    `cmd:"" group:"change" help:"Put a backend into maintenance: drain it and don't check it."`
	Ready    operate.Ready    `cmd:"" group:"change" help:"End maintenance or a drain."`
	Close    operate.Close    `cmd:"" group:"change" help:"Close sessions."`
	Backends operate.Backends `cmd:"" group:"change" help:"List, add and remove backends, and change weights."`
	Changes  operate.Changes  `cmd:"" group:"change" help:"List what was changed at run time, or undo it."`
	Log      operate.Log      `cmd:"" group:"change" help:"Show or change the level of the log."`

	Demo        demoCommand        `cmd:"" group:"test" help:"Run a chat of several servers behind a balancer, to try things out."`
	Doctor      doctorCommand      `cmd:"" group:"test" help:"Test whether a WebSocket server behaves well behind a balancer."`
	Simulate    simulateCommand    `cmd:"" group:"test" help:"Simulate deploys, failures and scale-outs with many sessions."`
	Bench       benchCommand       `cmd:"" group:"test" help:"Load-test a WebSocket server or balancer."`
	BenchServer benchServerCommand `cmd:"" name:"bench-server" group:"test" help:"Run a fast WebSocket server for bench to connect to."`

	Completion completionCommand `cmd:"" group:"shell" help:"Print a script for the completion of bash, zsh or fish."`
	Man        manCommand        `cmd:"" group:"shell" help:"Print a man page."`
	Version    versionCommand    `cmd:"" group:"shell" help:"Print the version."`
	Complete   completeCommand   `cmd:"" name:"__complete" passthrough:"" hidden:"" help:"What the scripts of completion call."`
	DemoServer demoServerCommand `cmd:"" name:"demo-server" hidden:"" help:"Run one chat server of the demo."`
}

// Operates reports whether a command is for a running balancer. Other programs with a
// balancer in them have these commands, too.
func Operates(command string) bool {
	for _, c := range newParser().Model.Children {
		if c.Name == command && c.Group != nil {
			return c.Group.Key == "see" || c.Group.Key == "change"
		}
	}
	return false
}

// newParser returns a parser of the command line. options are more of kong's.
func newParser(options ...kong.Option) *kong.Kong {
	parser, err := kong.New(new(commands), append([]kong.Option{
		kong.Name("holdfast"),
		kong.Description(description),
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		durations,
	}, options...)...)
	if err != nil {
		panic(err) // commands is invalid
	}
	parser.Model.HelpFlag.Help = "Show this help."
	return parser
}
