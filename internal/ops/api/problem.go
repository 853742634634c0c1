package api

import (
	"fmt"
	"net/http"
)

// Problem is an error of the API: problem+json (RFC 9457). Methods of the balancer return
// it to choose the status; any other error is status 500.
type Problem struct {
	Type   string `json:"type"`   // "about:blank"
	Title  string `json:"title"`  // the text of the status
	Status int    `json:"status"` // of HTTP
	// Detail says what is wrong and what to do, for people.
	Detail string `json:"detail"`
	// Field is the parameter or the key of the body that is wrong, such as "weight"; "" if
	// it is none of these.
	Field string `json:"field,omitempty"`
	// Errors has the lines of a configuration file that was refused.
	Errors []string `json:"errors,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

func problem(status int, field, format string, args []any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...), Field: field}
}

// Invalid is a value that can't be used: 422.
func Invalid(field, format string, args ...any) *Problem {
	return problem(http.StatusUnprocessableEntity, field, format, args)
}

// NotFound says that what was named doesn't exist: 404.
func NotFound(field, format string, args ...any) *Problem {
	return problem(http.StatusNotFound, field, format, args)
}

// Conflict says that the state doesn't allow it now: 409.
func Conflict(field, format string, args ...any) *Problem {
	return problem(http.StatusConflict, field, format, args)
}
