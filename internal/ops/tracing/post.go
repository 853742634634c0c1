package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// retryableError is a failure that may pass.
type retryableError struct{ error }

// partialError is an answer that not all spans were taken.
type partialError struct {
	rejected int64
	message  string
}

func (e *partialError) Error() string {
	return fmt.Sprintf("the collector has rejected %d spans: %.200q", e.rejected, e.message)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// post sends one request. after is how long the collector wants to be left alone.
func (e *Exporter) post(body []byte) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(e.last, e.options.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.options.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	for name, values := range e.options.Headers {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "holdfast/"+e.options.Version)
	res, err := e.client.Do(req)
	if err != nil {
		return 0, &retryableError{err}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case res.StatusCode/100 == 2 && err == nil:
		return 0, partial(answer)
	case res.StatusCode/100 == 2:
		return 0, nil // it has the spans; nobody knows whether all
	}
	err = fmt.Errorf("the collector answers %s", res.Status)
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(res.Header.Get("Retry-After")), &retryableError{err} // OTLP: Failures
	}
	return 0, err
}

// retryAfter is the value of Retry-After (RFC 9110 §10.2.3); 0 without one.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 && seconds < 1<<20 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// partial returns a *partialError if answer, an ExportTraceServiceResponse, has a
// partial_success with rejected spans.
func partial(answer []byte) error {
	const (
		partialSuccess = 1
		rejectedSpans  = 1
		errorMessage   = 2
	)
	var p partialError
	each(answer, func(field protowire.Number, _ uint64, text []byte) {
		if field == partialSuccess {
			each(text, func(field protowire.Number, n uint64, text []byte) {
				switch field {
				case rejectedSpans:
					p.rejected = int64(n)
				case errorMessage:
					p.message = string(text)
				}
			})
		}
	})
	if p.rejected > 0 {
		return &p
	}
	return nil
}

// each calls f with each field of a message, up to the first that is malformed.
func each(b []byte, f func(field protowire.Number, number uint64, text []byte)) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		var number uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return
		}
		f(field, number, text)
		b = b[n:]
	}
}
