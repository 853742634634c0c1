package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

type closeCommand struct {
	adminFlag
	Claim  string `required:"" placeholder:"NAME=VALUE" help:"A claim that the sessions show, and its value."`
	Code   int    `default:"1008" help:"Code of the Close frame."`
	Reason string `placeholder:"TEXT" help:"Reason in the Close frame."`
}

// Help is kong's detailed help.
func (*closeCommand) Help() string {
	return `Closes all sessions whose clients have a token with that claim, at a message
boundary. The claim must be one of session_claims of its route.

  holdfast close --claim sub=alice --reason "signed out"

The clients may connect again, unless their tokens are refused meanwhile.

Exit status: 0 done, also if there was no such session; 1 failed.`
}

// Run closes sessions.
func (c *closeCommand) Run(env *environment) error {
	claim, err := api.ParseClaim(c.Claim)
	if err != nil {
		return usage("%v", err)
	}
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	balancer, err := c.client()
	if err != nil {
		return err
	}
	defer balancer.Close()
	r, err := balancer.CloseSessions(ctx, api.CloseRequest{SessionFilter: api.SessionFilter{Claim: claim.String()}, Code: c.Code, Reason: c.Reason})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.out, "%s closed\n", count(r.Sessions, "session"))
	return nil
}
