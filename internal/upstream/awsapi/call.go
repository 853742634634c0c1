package awsapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// maxAnswer bounds an answer. A page of 500 instances has 2 to 4 MB.
const maxAnswer = 16 << 20

// maxPages bounds the pages of one list.
const maxPages = 500

// Error is AWS's answer that a call has failed.
type Error struct {
	Permission    string // such as ec2:DescribeInstances
	Status        int
	Code, Message string // as answered, on one line and short
}

func (e *Error) Error() string {
	detail := ""
	if e.Message != "" {
		detail = fmt.Sprintf(": %q", e.Message)
	}
	switch {
	case e.denied():
		return fmt.Sprintf("the credentials may not call %s: allow this action in their IAM policy (%s%s)", e.Permission, e.code(), detail)
	case e.credentials():
		return fmt.Sprintf("%s: AWS doesn't accept the credentials (%s%s); also check this machine's clock", e.Permission, e.code(), detail)
	case e.Throttled():
		return fmt.Sprintf("%s: AWS asks for fewer calls (%s%s); a longer refresh: helps", e.Permission, e.code(), detail)
	}
	return fmt.Sprintf("%s: %s%s", e.Permission, e.code(), detail)
}

func (e *Error) code() string {
	if e.Code == "" {
		return fmt.Sprintf("status %d", e.Status)
	}
	return fmt.Sprintf("status %d, %s", e.Status, e.Code)
}

// Throttled reports whether calls are to be made less often.
func (e *Error) Throttled() bool {
	switch e.Code {
	case "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
		"RequestThrottledException", "TooManyRequestsException", "SlowDown", "PriorRequestNotComplete", "EC2ThrottledException":
		return true
	}
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

func (e *Error) denied() bool {
	switch e.Code {
	case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException":
		return true
	}
	return false
}

// credentials reports whether others are needed.
func (e *Error) credentials() bool {
	switch e.Code {
	case "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken", "ExpiredTokenException", "RequestExpired",
		"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken", "InvalidAccessKeyId":
		return true
	}
	return false
}

// service is an API of AWS.
type service struct {
	name    string // in hosts and signatures
	version string
}

var (
	ec2         = service{"ec2", "2016-11-15"}
	autoscaling = service{"autoscaling", "2011-01-01"}
	ecs         = service{"ecs", "AmazonEC2ContainerServiceV20141113"}
)

// post makes one call. It returns the body of an answer with status 200.
func (c *Client) post(ctx context.Context, s service, action string, header http.Header, body []byte) ([]byte, error) {
	permission := s.name + ":" + action
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint(s), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	credentials, err := c.settings.credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s (%s)", noCredentials, oneLine(err.Error()))
	}
	hash := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(hash[:]), s.name, c.settings.region, time.Now()); err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL is known
		}
		return nil, fmt.Errorf("%s at %s: %s", permission, req.URL.Host, oneLine(err.Error()))
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s at %s: %s", permission, req.URL.Host, oneLine(err.Error()))
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("%s: the answer is larger than %d MiB", permission, maxAnswer>>20)
	case res.StatusCode != http.StatusOK:
		code, message := "", ""
		if s == ecs {
			code, message = parseJSONError(answer)
		} else {
			code, message = parseXMLError(answer)
		}
		return nil, &Error{permission, res.StatusCode, short(code, 64), short(message, 200)}
	}
	return answer, nil
}

const noCredentials = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this instance or task an IAM role"

// endpoint is the URL of a service.
func (c *Client) endpoint(s service) string {
	return cmp.Or(c.query.Endpoint, c.settings.endpoint, serviceURL(s.name, c.settings.region))
}

// serviceURL is AWS's URL of a service in a region.
func serviceURL(service, region string) string {
	suffix := "amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		suffix += ".cn"
	}
	return "https://" + service + "." + region + "." + suffix + "/"
}

// pages calls page with the token of each page, "" first, until there is no next one.
func pages(action string, page func(token string) (next string, err error)) error {
	token := ""
	for range maxPages {
		next, err := page(token)
		if err != nil || next == "" {
			return err
		}
		if next == token {
			return fmt.Errorf("%s: a page of the answer names itself as the next", action)
		}
		token = next
	}
	return fmt.Errorf("%s: more than %d pages", action, maxPages)
}

// oneLine makes a text from outside fit for a line of the log.
func oneLine(s string) string { return short(s, 300) }

func short(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return s
}
