package importer_test

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

func at(line int) config.Place { return config.Place{File: "x.conf", Line: line, Col: 1} }

// What is refused is an error with its line, unless the loss is accepted.
func TestRefused(t *testing.T) {
	for _, accept := range []bool{false, true} {
		r := importer.Report{AcceptLoss: accept}
		c := config.Defaults()
		c.Listeners = []config.Listener{{Name: "a"}}
		r.Refuse(at(3), "lua_code x", "programs aren't run")
		c.Pools = []config.Pool{config.NewPool("p", config.Backend{Address: hostport.MustParse("127.0.0.1:3000")})}
		res, err := r.Finish("x", &c)
		if accept {
			if err != nil || res.Config == nil || res.Notes[0].String() != "x.conf:3:1: lua_code x: refused, left out: programs aren't run" {
				t.Errorf("with the loss accepted: %v, %v", err, res.Notes)
			}
		} else if err == nil || res.Config != nil || err.Error() != "x.conf:3:1: lua_code x: refused: programs aren't run" {
			t.Errorf("without: %v", err)
		}
	}
}

// What the checks of package config find has the line of the directive.
func TestPlaces(t *testing.T) {
	var r importer.Report
	c := config.Defaults()
	c.Listeners = []config.Listener{{Name: "a"}}
	c.Pools = []config.Pool{config.NewPool("p")}
	r.Carry(at(7), "upstream p", config.PoolPath("p"))
	if _, err := r.Finish("x", &c); err == nil || !strings.HasPrefix(err.Error(), "x.conf:7:1: ") {
		t.Errorf("the error is %v", err)
	}
}
