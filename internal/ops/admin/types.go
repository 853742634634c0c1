package admin

import "github.com/holdfast-ws/holdfast/internal/ops/api"

type (
	Status  = api.Status
	Session = api.Session
	Claim   = api.Claim
)

// sessionsResponse is the response to GET /sessions.
type sessionsResponse struct {
	Sessions []Session `json:"sessions"`
	// Next is the value of ?after= for the next page, "" on the last one.
	Next string `json:"next,omitempty"`
}
