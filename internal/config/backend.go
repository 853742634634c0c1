package config

import (
	"reflect"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// CheckBackend checks a backend that is added to a pool while the balancer runs, by the
// rules of a configuration, and sets its name if it has none. address is the text of its
// address, which may be a URL. The error is an Errors whose paths are keys of a Backend.
//
// It doesn't know the other backends of the pool.
func CheckBackend(p *Pool, b *Backend, address string) error {
	var r Report
	v := NewValidator(nil, &r)
	a, err := hostport.ParseURL(address, "10.0.0.1:3000")
	switch {
	case err != nil:
		v.Fail("address", "%v", err)
	case hostport.IsTLS(hostport.Scheme(address)) && p.TLS == nil:
		v.Fail("address", "%s is with TLS, and the pool has none: add tls to the pool, or write ws:// or no scheme", hint.Quote(address))
	case hostport.Scheme(address) != "" && !hostport.IsTLS(hostport.Scheme(address)) && p.TLS != nil:
		v.Fail("address", "%s is without TLS, and the pool has tls: write wss:// or no scheme", hint.Quote(address))
	default:
		b.Address = a
		v.target("address", a, "backend")
	}
	v.section("", reflect.ValueOf(b).Elem())
	if b.Name == "" {
		b.Name = b.Address.String()
	}
	if errs := r.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}
