package app

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/tls/acme"
)

// acmePlan is what listeners get certificates for by ACME. It reads files and changes
// nothing. The error is a config.Errors.
func acmePlan(c *config.Config) (*acme.Plan, error) {
	var uses []acme.Use
	var paths []config.Path
	http01 := false
	for i, l := range c.Listeners {
		switch {
		case l.TLS == nil:
			http01 = true
		case l.TLS.ACME != nil:
			u := l.TLS.ACME
			paths = append(paths, config.Path("listeners").Index(i).Key("tls").Key("acme"))
			uses = append(uses, acme.Use{
				Account: acme.Account{Directory: u.Directory, Email: u.Email, Profile: u.Profile, CA: u.CA, Storage: u.Storage},
				Domains: u.Domains,
			})
		}
	}
	plan, err := acme.NewPlan(uses, http01)
	if err == nil {
		return plan, nil
	}
	e := config.Error{Path: "listeners", Msg: err.Error()}
	var file *acme.FileError
	if errors.As(err, &file) {
		e.Path = paths[file.Use].Key("ca")
	}
	errs := config.Errors{e}
	c.Locate(errs)
	return nil, errs
}

// acmeChanged is called after certificates by ACME have changed. To get one leaves much
// garbage.
func (a *App) acmeChanged() {
	a.certs.Refresh()
	a.trimmer.note(time.Now())
}
