package auth

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/identity/subrequest"
)

// RequestOptions say how an endpoint is asked about clients.
type RequestOptions struct {
	Client *subrequest.Client
	// Headers are the names of header fields of the client that the endpoint gets, and
	// Copy are those of its answer that the backend gets.
	Headers, Copy []string
	// Open permits clients while the endpoint gives no answer.
	Open bool
}

// Request asks an HTTP endpoint, as auth_request of nginx does.
type Request struct{ o RequestOptions }

// NewRequest makes a Request.
func NewRequest(o RequestOptions) *Request { return &Request{o} }

// maxCopied bounds a value that is copied from the endpoint's answer, in bytes.
const maxCopied = 4 << 10

func (q *Request) permit(r *Asked, wait Waiter, g *Grant) error {
	query := q.query(r)
	answer, ok := q.o.Client.Cached(query)
	if !ok {
		var failed error
		err := wait(func(done func()) {
			q.o.Client.Ask(query, func(a *subrequest.Answer, err error) {
				answer, failed = a, err
				done()
			})
		})
		if err = waited(err); err != nil {
			return err
		}
		if failed != nil {
			return q.unavailable(failed.Error())
		}
	}
	switch {
	case answer.Status >= 200 && answer.Status < 300:
		return q.copy(answer, g)
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		return denied(answer)
	}
	return q.unavailable("the endpoint answers with status " + strconv.Itoa(answer.Status))
}

// query is what the endpoint is asked.
func (q *Request) query(r *Asked) *subrequest.Query {
	query := &subrequest.Query{Keep: q.o.Copy, Fields: [][2]string{{"X-Original-Method", r.Method}, {"X-Original-URL", r.URL}, {"X-Forwarded-For", r.Client}}}
	for _, name := range q.o.Headers {
		lower := strings.ToLower(name)
		for i := 0; ; i++ {
			value, ok := r.Header(lower, i)
			if !ok {
				break
			}
			query.Fields = append(query.Fields, [2]string{name, string(value)})
		}
	}
	return query
}

func (q *Request) unavailable(reason string) error {
	if q.o.Open {
		return nil
	}
	return failure.New(failure.AuthUnavailable, reason)
}

func (q *Request) copy(answer *subrequest.Answer, g *Grant) error {
	for _, name := range q.o.Copy {
		values := answer.Header.Values(name)
		if len(values) == 0 {
			continue
		}
		value := fieldValue(strings.Join(values, ", "))
		if len(value) > maxCopied {
			return failure.New(failure.AuthUnavailable, "the endpoint's answer has a too long "+name)
		}
		g.Fields = append(g.Fields, [2]string{name, value})
	}
	return nil
}

// denied passes on what the endpoint says the client must do (RFC 9110 section 11.6.1).
func denied(answer *subrequest.Answer) error {
	r := &failure.Refusal{Status: answer.Status, Message: "You may not have this."}
	if answer.Status == http.StatusUnauthorized {
		r.Message = "Say who you are."
		challenge := strings.Join(answer.Header.Values("WWW-Authenticate"), ", ")
		if challenge == "" || len(challenge) > maxCopied {
			challenge = `Bearer realm="holdfast"`
		}
		r.Header = [][2]string{{"WWW-Authenticate", fieldValue(challenge)}}
	}
	return &failure.Error{Code: failure.AuthDenied, Refusal: r, Reason: "the endpoint answers with status " + strconv.Itoa(answer.Status)}
}
