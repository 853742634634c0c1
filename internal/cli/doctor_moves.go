package cli

import (
	"errors"
	"io"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor/conformance"
)

// conformance returns the options of the test with several servers.
func (c *doctorCommand) conformance(e *env.Env) (o conformance.Options, err error) {
	if c.PID != 0 || c.Drain || c.NoReattach || c.Stateless || len(c.Say) > 0 || c.Ask != "" || c.Answer != "" {
		return o, errors.New("--pid, --drain, --no-reattach, --stateless, --say, --ask and --answer are for one server, without --protocol")
	}
	o = conformance.Options{
		URLs: c.URLs, Protocol: c.Protocol, Auth: c.Auth, Subprotocol: c.Subprotocol,
		Insecure: c.Insecure, CA: c.CA, ServerName: c.ServerName, Cert: c.Cert, Key: c.Key,
		Sessions: c.Sessions, Timeout: c.Timeout, MaxGap: c.MaxGap, Kill: c.Kill, Start: c.Start, Progress: e.Err,
		Balance: func(text string, log io.Writer) (conformance.Balancer, error) {
			return app.Start(app.Options{
				Load:    func() (*config.Config, error) { return yaml.Parse("doctor", []byte(text)) },
				Version: Version(), LogTo: log,
			})
		},
	}
	if o.Header, err = c.headerFields(); err != nil {
		return o, err
	}
	return o, o.Check()
}
