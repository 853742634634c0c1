package acme

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// The authority may ask any of the balancers that share a storage folder. So a
// challenge is a file there, which the others find by looking every second, and the
// authority is asked to check it after that.
const (
	lookEvery = time.Second
	settle    = lookEvery + 500*time.Millisecond
	// A balancer that was killed leaves its challenges behind.
	stale = time.Hour
)

// challenge is what proves that a domain is ours.
type challenge struct {
	Domain  string    `json:"domain"`
	Path    string    `json:"path,omitempty"` // of HTTP-01
	KeyAuth string    `json:"key_authorization"`
	Made    time.Time `json:"made"`

	certificate *tls.Certificate // of TLS-ALPN-01, otherwise nil
}

// challenges has those that are open, of this balancer and of others.
type challenges struct {
	storage certmagic.Storage
	folder  string
	log     *slog.Logger

	open atomic.Pointer[map[string]*challenge] // by file; a map never changes

	mu   sync.Mutex // held while open is replaced; guards the following
	ours map[string]bool
}

var (
	_ acmez.Solver = (*challenges)(nil)
	_ acmez.Waiter = (*challenges)(nil)
)

func newChallenges(storage certmagic.Storage, folder string, log *slog.Logger) *challenges {
	c := &challenges{storage: storage, folder: folder, log: log, ours: map[string]bool{}}
	c.open.Store(&map[string]*challenge{})
	return c
}

// answer returns the answer to an HTTP-01 challenge. The host must be the right one,
// so that a page of another name can't be made to serve it.
func (c *challenges) answer(host, path string) (string, bool) {
	for _, o := range *c.open.Load() {
		if o.Path == path && o.certificate == nil && strings.EqualFold(o.Domain, host) {
			return o.KeyAuth, true
		}
	}
	return "", false
}

// serve returns the certificate for a TLS-ALPN-01 challenge, nil if there is none.
func (c *challenges) serve(domain string) *tls.Certificate {
	for _, o := range *c.open.Load() {
		if o.certificate != nil && strings.EqualFold(o.Domain, domain) {
			return o.certificate
		}
	}
	return nil
}

// file is the key of a challenge in the storage. Tokens come from the authority, and
// are no file names.
func (c *challenges) file(chal acme.Challenge) string {
	sum := sha256.Sum256([]byte(chal.Type + " " + chal.Token))
	return c.folder + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

// Present implements acmez.Solver.
func (c *challenges) Present(ctx context.Context, chal acme.Challenge) error {
	o := &challenge{Domain: chal.Identifier.Value, KeyAuth: chal.KeyAuthorization, Made: time.Now()}
	if chal.Type == acme.ChallengeTypeHTTP01 {
		o.Path = chal.HTTP01ResourcePath()
	}
	if err := o.prepare(); err != nil {
		return err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	file := c.file(chal)
	c.change(func(open map[string]*challenge) { open[file], c.ours[file] = o, true })
	return c.storage.Store(ctx, file, text)
}

// Wait implements acmez.Waiter.
func (c *challenges) Wait(ctx context.Context, _ acme.Challenge) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
		return nil
	}
}

// CleanUp implements acmez.Solver. It is called after Present has failed, too.
func (c *challenges) CleanUp(ctx context.Context, chal acme.Challenge) error {
	file := c.file(chal)
	c.change(func(open map[string]*challenge) {
		delete(open, file)
		delete(c.ours, file)
	})
	return c.storage.Delete(context.WithoutCancel(ctx), file)
}

// prepare makes the certificate of a TLS-ALPN-01 challenge.
func (o *challenge) prepare() (err error) {
	if o.Path == "" {
		o.certificate, err = acmez.TLSALPN01ChallengeCert(acme.Challenge{
			Type: acme.ChallengeTypeTLSALPN01, KeyAuthorization: o.KeyAuth,
			Identifier: acme.Identifier{Type: "dns", Value: o.Domain},
		})
	}
	return err
}

func (c *challenges) change(f func(map[string]*challenge)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := maps.Clone(*c.open.Load())
	f(open)
	c.open.Store(&open)
}

// watch looks for the challenges of other balancers until ctx ends.
func (c *challenges) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := c.look(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			c.log.Warn("the challenges of other balancers can't be read from the ACME storage", "folder", c.folder, "error", err.Error())
		}
		failed = err != nil
	}
}

// look takes over what other balancers have stored and removed.
func (c *challenges) look(ctx context.Context) error {
	files, err := c.storage.List(ctx, c.folder, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	have := *c.open.Load()
	found := map[string]*challenge{}
	for _, file := range files {
		o := have[file]
		if o == nil {
			if o, err = c.load(ctx, file); err != nil {
				continue // removed just now, or being written
			}
			if time.Since(o.Made) > stale {
				c.storage.Delete(ctx, file)
				continue
			}
		}
		found[file] = o
	}
	if maps.Equal(found, have) {
		return nil
	}
	c.change(func(open map[string]*challenge) {
		for file := range open {
			if found[file] == nil && !c.ours[file] {
				delete(open, file)
			}
		}
		for file, o := range found {
			if have[file] == nil && open[file] == nil {
				open[file] = o
			}
		}
	})
	return nil
}

func (c *challenges) load(ctx context.Context, file string) (*challenge, error) {
	text, err := c.storage.Load(ctx, file)
	if err != nil {
		return nil, err
	}
	o := new(challenge)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, err
	}
	return o, o.prepare()
}
