package app

import (
	"context"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// operated is the balancer as the admin API sees it.
type operated struct{ *App }

var _ admin.Balancer = operated{}

func (o operated) Routes() []api.Route { return nil }

func (o operated) Reload(context.Context) (api.ReloadResult, error) {
	warnings, err := o.App.Reload()
	if err != nil {
		p := api.Invalid("", "the configuration is refused; nothing has changed")
		p.Errors = strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
		return api.ReloadResult{}, p
	}
	return api.ReloadResult{Generation: o.proxy.Generation().Number, Warnings: warnings}, nil
}

func (o operated) Log() api.Log { return api.Log{} }

func (o operated) SetLog(level string) (api.Log, error) { return api.Log{}, notYet() }

func notYet() error { return api.Conflict("", "not implemented yet") }
