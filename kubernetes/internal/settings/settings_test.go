package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	c, err := Parse("holdfast.yaml", []byte("timeouts: {idle: 2h}\nlimits: {max_sessions: 5000}\nforwarded: {trust: [10.0.0.0/8], request_id: false}\nlog: {level: warn}\nshutdown: {delay: 10s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Timeouts.Idle != 2*time.Hour || c.Limits.MaxSessions != 5000 || len(c.Forwarded.Trust) != 1 || c.Log.Level != "warn" || c.Shutdown.Delay != 10*time.Second {
		t.Errorf("what is in the file is not in %+v", c)
	}
	if c.Forwarded.RequestID || !c.Forwarded.XRealIP || c.HTTP.Via || c.Admin.Address.String() != "127.0.0.1:9900" || c.Admin.Socket != "off" {
		t.Errorf("request_id is %t, x_real_ip %t, via %t, admin %s", c.Forwarded.RequestID, c.Forwarded.XRealIP, c.HTTP.Via, c.Admin.Address)
	}
	if len(c.Listeners)+len(c.Routes)+len(c.Pools) > 0 {
		t.Errorf("there are listeners, routes or pools: %+v", c)
	}
}

func TestAdminIsOff(t *testing.T) {
	c, err := Parse("holdfast.yaml", []byte(`admin: {address: ""}`))
	if err != nil || !c.Admin.Address.IsZero() {
		t.Errorf("%v, %v", c, err)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"listeners: [{address: \":80\"}]": "holdfast.yaml:1:12: listeners can't be in this file: they are made from Ingresses and Gateways",
		"routes: []":                      "holdfast.yaml:1:9: routes can't be in this file",
		"log: {}\npools: {chat: {}}":      "holdfast.yaml:2:8: pools can't be in this file",
		"timeouts: {idel: 2h}":            `did you mean "idle"`,
		"timeouts: {idle: 2 weeks}":       "holdfast.yaml:1:18: ",
		"admin: {address: \":9900\"}":     "would expose admin to every network",
		"- a":                             "a mapping of settings",
		"a: b: c":                         "holdfast.yaml:1",
	} {
		if _, err := Parse("holdfast.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	if c, err := Load(""); err != nil || !c.Forwarded.XRealIP {
		t.Errorf("without a file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "holdfast.yaml")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that isn't there: %v", err)
	}
	if err := os.WriteFile(path, []byte("# nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}
