package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Admin says where the admin interface answers, and to whom.
type Admin struct {
	// Socket is the path of a unix socket, SocketAuto or SocketOff. Whoever may write to it
	// needs no token.
	Socket string `key:"socket" as:"admin socket"`
	// SocketMode has its permissions; "" is 0660. See Permissions.
	SocketMode string `key:"socket_mode" as:"permissions"`
	// Address always has a host. The zero Address means off.
	Address hostport.Address `key:"address" want:"an address such as 127.0.0.1:9900" empty:"ok" example:"127.0.0.1:9900"`
	// TokenFile has the tokens that requests to Address need; "" for none.
	TokenFile string `key:"token_file" as:"file"`
	// TLS is for Address; nil is none.
	TLS *AdminTLS `key:"tls" want:"a mapping with cert and key"`
	// State is the file that keeps changes of backends made at run time, StateAuto or
	// StateOff.
	State string `key:"state" as:"state file"`
	// Health is an address that answers GET /health only. The zero Address means none.
	Health hostport.Address `key:"health" want:"an address such as :9901" empty:"ok" example:":9901"`
}

// Values of Admin.Socket that aren't paths.
const (
	SocketAuto = "auto" // in the usual folder, see internal/app
	SocketOff  = "off"
)

// Values of Admin.State that aren't paths.
const (
	StateAuto = "auto" // in the usual folder, see internal/cli
	StateOff  = "off"
)

// checkState checks a value of Admin.State. Its path is absolute, as that of the socket.
func checkState(s string) error {
	switch {
	case s == StateAuto || s == StateOff:
		return nil
	case s == "":
		return errors.New("the path of the file is empty: write auto, off or a path such as /var/lib/holdfast/state.json")
	case !filepath.IsAbs(s) || strings.HasSuffix(s, "/"):
		return fmt.Errorf("bad path %s: want auto, off or the path of a file such as /var/lib/holdfast/state.json", hint.Quote(s))
	}
	return checkFile(s)
}

// AdminTLS says how the admin address speaks TLS.
type AdminTLS struct {
	Cert string `key:"cert" as:"file"`
	Key  string `key:"key" as:"file"` // "" if the key is in Cert, too
	// ClientCA is a file of certificates that client certificates are verified by;
	// "" asks for none.
	ClientCA string `key:"client_ca" as:"file"`
}

// Permissions are those of the socket.
func (a *Admin) Permissions() fs.FileMode { return permissions(a.SocketMode) }

func permissions(octal string) fs.FileMode {
	n, err := strconv.ParseUint(octal, 8, 32)
	if err != nil {
		return 0o660
	}
	return fs.FileMode(n)
}

// Protected reports whether requests to the address need a token or a client certificate.
func (a *Admin) Protected() bool {
	return a.TokenFile != "" || a.TLS != nil && a.TLS.ClientCA != ""
}

// CheckAddress returns an error if the address can be reached from other machines, and is
// open to everybody. A name counts as one that can, except localhost.
func (a *Admin) CheckAddress() error {
	if a.Address.IsZero() || a.Protected() || a.Address.IP.Unmap().IsLoopback() || a.Address.Host == "localhost" {
		return nil
	}
	return fmt.Errorf("%s can be reached from other machines, and everybody there could close sessions: add token_file or tls with client_ca to admin, or write 127.0.0.1:%d",
		hint.Quote(a.Address.String()), a.Address.Port)
}

// checkSocket checks a value of Admin.Socket. Its path is absolute, so that commands find
// it from any folder.
func checkSocket(s string) error {
	switch {
	case s == SocketAuto || s == SocketOff:
		return nil
	case s == "":
		return errors.New("the path of the socket is empty: write auto, off or a path such as /run/holdfast/admin.sock")
	case !strings.HasPrefix(s, "/"):
		return fmt.Errorf("bad socket %s: want auto, off or a path such as /run/holdfast/admin.sock", hint.Quote(s))
	}
	if _, err := hostport.ParseListen("unix:"+s, ""); err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		return fmt.Errorf("bad socket %s: %s", hint.Quote(s), strings.Replace(why, "unix:", "", 1))
	}
	return nil
}

// admin checks how the keys of the admin interface go together.
func (v *Validator) admin(taken ports, a *Admin) {
	p := Path("admin")
	if a.Socket == "" && v.OK(p.Key("socket")) { // of a program
		a.Socket = SocketOff
	}
	if a.State == "" && v.OK(p.Key("state")) { // of a program
		a.State = StateOff
	}
	if mode := p.Key("socket_mode"); a.SocketMode != "" && a.Socket == SocketOff && v.OK(mode) {
		v.Fail(mode, "socket_mode is for a socket, and socket is off: leave it out")
	}
	if a.Socket != SocketOff && a.Socket != SocketAuto && v.OK(p.Key("socket")) {
		v.port(taken, "admin socket", p.Key("socket"), hostport.Address{Path: a.Socket})
	}
	v.adminAddress(taken, p, a)
	if text, _ := v.source.Text(p.Key("health")); v.OK(p.Key("health")) && (!a.Health.IsZero() || text != "") {
		v.port(taken, "health address", p.Key("health"), a.Health)
	}
}

func (v *Validator) adminAddress(taken ports, p Path, a *Admin) {
	at := p.Key("address")
	if !v.OK(at) {
		return
	}
	if text, _ := v.source.Text(at); a.Address.IsZero() && text == "" {
		const without = "%s is for the admin address, and there is none: add address: or leave it out"
		if token := p.Key("token_file"); a.TokenFile != "" && v.OK(token) {
			v.Fail(token, without, "token_file")
		}
		if a.TLS != nil && v.OK(p.Key("tls")) {
			v.Fail(p.Key("tls"), without, "tls")
		}
		return
	}
	// The host must be spelled out, so that nobody opens admin to every network
	// by leaving it out.
	if a.Address.HostString() == "" {
		v.Fail(at, "%s", exposesAdmin(a.Address.String(), a.Address))
		return
	}
	v.port(taken, "admin address", at, a.Address)
	if a.TLS != nil && v.OK(p.Key("tls")) {
		v.Require(p.Key("tls").Key("cert"), a.TLS.Cert != "", "the file of the certificate is missing: write for example cert: cert.pem")
	}
	if !v.OK(p.Key("tls")) || !v.OK(p.Key("token_file")) || !v.OK(p.Key("tls").Key("client_ca")) {
		return
	}
	if err := a.CheckAddress(); err != nil {
		v.Fail(at, "%v", err)
		return
	}
	local := *a
	local.TokenFile, local.TLS = "", nil
	if a.TLS == nil && local.CheckAddress() != nil {
		v.Warn(at, "tokens cross the network unencrypted: add tls: {cert: cert.pem, key: key.pem} to admin")
	}
}

func exposesAdmin(text string, a hostport.Address) string {
	return fmt.Sprintf("%s would expose admin to every network: write 127.0.0.1:%d for this machine only, or 0.0.0.0:%d if every network is meant",
		hint.Quote(text), a.Port, a.Port)
}
