package app

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/ops/admin"
)

// Operated is the balancer as the admin API sees it.
func (a *App) Operated() admin.Balancer { return operated{a} }

// FillCloseReasons makes the App know as many reasons to close sessions as it can.
func (a *App) FillCloseReasons() {
	for i := range maxCloseReasons {
		a.closeReasons.add(fmt.Sprint("reason ", i))
	}
}
