package backend

import (
	"context"
	"net"
	"net/http"
	"os"
)

// ServeUntil is Serve with signals provided by the test.
func (b *Backend) ServeUntil(ctx context.Context, l net.Listener, h http.Handler, signals <-chan os.Signal) error {
	return b.serve(ctx, l, h, signals)
}
