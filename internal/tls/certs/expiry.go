package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"strings"
	"time"
)

// Info describes a certificate that is in use.
type Info struct {
	Names []string // and addresses; in lower case
	// File is Pair.Cert; InMemory or FromSource for others.
	File string
	// Key is the kind of its key, such as "ECDSA P-256".
	Key                 string
	NotBefore, NotAfter time.Time
	// Problem is why the files can't be used any more, so that what was read
	// before is in use; "" if they can.
	Problem string
}

// Values of Info.File for certificates without a file.
const (
	InMemory   = "self-signed"
	FromSource = "acme"
)

// Warn reports whether a certificate expires so soon that its renewal is overdue: a
// quarter of its time is left, or 30 days. Renewal by ACME begins when a third is left.
func (i *Info) Warn(now time.Time) bool {
	quarter := i.NotAfter.Sub(i.NotBefore) / 4
	return i.NotAfter.Sub(now) < min(quarter, 30*24*time.Hour)
}

// Early reports whether a certificate isn't valid yet.
func (i *Info) Early(now time.Time) bool { return now.Before(i.NotBefore) }

// Late reports whether a certificate has expired.
func (i *Info) Late(now time.Time) bool { return now.After(i.NotAfter) }

// Certificates lists the certificates that are in use, each once, in the order of the
// configuration. It doesn't wait for files.
func (w *Watcher) Certificates() (all []Info) {
	seen := map[any]bool{}
	for _, s := range *w.inUse.Load() {
		for _, p := range s.pairs {
			if !seen[p] {
				seen[p] = true
				all = append(all, p.info())
			}
		}
		if s.self != nil && !seen[s.self] {
			seen[s.self] = true
			all = append(all, info(s.self, InMemory))
		}
	}
	if w.Source != nil {
		for _, c := range w.Source.Certificates() {
			all = append(all, info(c, FromSource))
		}
	}
	return all
}

// Certificates lists those of the Spec's Pairs, in their order.
func (s *Store) Certificates() (all []Info) {
	for _, p := range s.pairs {
		all = append(all, p.info())
	}
	return all
}

func (p *pair) info() Info {
	i := info(p.current.Load(), p.Cert)
	if problem := p.problem.Load(); problem != nil {
		i.Problem = *problem
	}
	return i
}

func info(c *tls.Certificate, file string) Info {
	return Info{Names: names(c.Leaf), File: file, Key: kind(c.Leaf), NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter}
}

func kind(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

const (
	warnEvery  = 24 * time.Hour // how often it is logged that a certificate expires
	checkEvery = time.Minute
)

// warn logs the certificates that expire soon, have expired or aren't valid yet, once a
// day.
func (w *Watcher) warn() {
	now := w.Now()
	w.checked = now
	due := map[string]time.Time{}
	for _, i := range w.Certificates() {
		if !i.Warn(now) && !i.Early(now) {
			continue
		}
		id := i.File + " " + utc(i.NotAfter) + " " + strings.Join(i.Names, " ")
		if last, ok := w.warned[id]; ok && now.Sub(last) < warnEvery {
			due[id] = last
			continue
		}
		due[id] = now
		about := []any{"cert", i.File, "names", joined(i.Names), "expires", utc(i.NotAfter), "days_left", i.DaysLeft(now)}
		switch {
		case i.Late(now):
			w.Log.Error("certificate has expired; clients reject it", about...)
		case i.Early(now):
			w.Log.Error("certificate is not valid yet; clients reject it", append(about, "from", utc(i.NotBefore))...)
		default:
			w.Log.Warn("certificate expires soon", about...)
		}
	}
	w.warned = due
}

// DaysLeft is the number of days until the expiry, with one decimal; negative after it.
func (i *Info) DaysLeft(now time.Time) float64 {
	return math.Floor(i.NotAfter.Sub(now).Hours()/24*10) / 10
}

// certLog is a certificate in words, for the log.
func certLog(p *pair) []any {
	leaf := p.current.Load().Leaf
	return []any{"cert", p.Cert, "names", joined(names(leaf)), "expires", utc(leaf.NotAfter)}
}

// joined is a list of names that is not too long for a line of the log.
func joined(names []string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(" ")
		}
		if i > 0 && b.Len()+len(n) > 200 {
			fmt.Fprintf(&b, "and %d others", len(names)-i)
			break
		}
		b.WriteString(n)
	}
	return b.String()
}
