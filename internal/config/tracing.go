package config

import (
	"time"
)

// Tracing says where traces go.
type Tracing struct {
	// Endpoint is the URL of a collector that speaks OTLP over HTTP. If it has no path,
	// that is /v1/traces.
	Endpoint string  `key:"endpoint" as:"endpoint"`
	Headers  Headers `key:"headers" want:"a mapping from names of headers to values" item:"the value of a header"`
	// HeadersFile has more of them, as lines NAME: VALUE.
	HeadersFile string        `key:"headers_file" as:"file"`
	Sample      float64       `key:"sample" as:"number" range:"0..1"` // fraction of handshakes
	ServiceName string        `key:"service_name" as:"text"`
	Timeout     time.Duration `key:"timeout" range:"1ms..1m"` // of a request
}

// SetDefaults implements Defaulter.
func (t *Tracing) SetDefaults() {
	t.Sample, t.ServiceName, t.Timeout = 1, "holdfast", 10*time.Second
}

func (v *Validator) tracing(t *Tracing) {
	p := Path("tracing")
	if t == nil || !v.OK(p) {
		return
	}
	v.Require(p.Key("endpoint"), t.Endpoint != "", "the endpoint is missing: write for example endpoint: http://127.0.0.1:4318")
	v.headers(p.Key("headers"), t.Headers, checkHeaderName)
	if name := p.Key("service_name"); v.OK(name) && t.ServiceName == "" {
		v.Fail(name, "the name is empty: write one, or leave the key out")
	}
	v.plainEndpoint(p.Key("endpoint"), t.Endpoint, "anyone on the way can read the addresses of clients, and the headers")
}
