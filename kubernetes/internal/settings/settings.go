// Package settings reads what is the operator's in a configuration that otherwise comes
// from the cluster: timeouts, limits, the log and so on, as docs/config.md has them.
package settings

import (
	"bytes"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

// Defaults are those of a balancer in a cluster. They differ from those of a file where
// users of Kubernetes expect something else: backends learn the client's address and a
// request's ID in the usual fields, and no Via. The admin interface is on, at an
// address for this machine only, which in a cluster is the pod.
func Defaults() *config.Config {
	c := config.Defaults()
	c.Forwarded.XRealIP, c.Forwarded.RequestID = true, true
	c.HTTP.Via = false
	c.Admin.Socket = config.SocketOff
	c.Admin.Address = config.Address{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Port: 9900}
	return &c
}

// source makes a file the Source of a configuration of which a program has built the rest.
type source struct{ *yaml.File }

// Built implements what config.Source says about programs.
func (source) Built() {}

// Parse reads a file of settings. name is its name in errors, which are a config.Errors.
func Parse(name string, data []byte) (*config.Config, error) {
	c := Defaults()
	if empty(data) {
		return c, nil
	}
	file, err := yaml.Read(name, data, "a mapping of settings such as timeouts and limits", c)
	if err != nil {
		return nil, err
	}
	if text, written := file.Text("admin.address"); written && text == "" {
		c.Admin.Address = config.Address{} // off
	}
	for key, from := range map[string]string{
		"listeners": "Ingresses and Gateways", "routes": "Ingresses and the routes of Gateways", "pools": "Services; a HoldfastPolicy has their settings",
	} {
		if p := config.Path(key); file.Given(p) {
			file.Report.Fail(config.Error{Path: p, Place: file.Place(p), Msg: key + " can't be in this file: they are made from " + from})
		}
	}
	// What is in the file is checked as a part of the smallest configuration.
	c.Listeners = []config.Listener{{Name: "nothing", Address: config.Address{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}}
	answer := &config.Respond{}
	answer.SetDefaults()
	c.Routes, c.Pools = []config.Route{{Respond: answer}}, nil
	config.Check(c, source{file}, &file.Report)
	if errs := file.Report.Errors(); len(errs) > 0 {
		return nil, errs
	}
	c.Warnings = file.Report.Warnings()
	c.Listeners, c.Routes = nil, nil
	return c, nil
}

// empty reports whether a file has only comments.
func empty(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// Load reads the file at path; "" stands for no file.
func Load(path string) (*config.Config, error) {
	if path == "" {
		return Defaults(), nil
	}
	data, err := yaml.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}
