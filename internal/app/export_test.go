package app

import "github.com/holdfast-ws/holdfast/internal/ops/admin"

// Operated is the balancer as the admin API sees it.
func (a *App) Operated() admin.Balancer { return operated{a} }
