package app

import (
	"slices"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// texts are the texts of warnings.
func texts(lists ...[]config.Error) (all []string) {
	for _, w := range slices.Concat(lists...) {
		all = append(all, w.Error())
	}
	return all
}

// warnOnce logs warnings about the configuration. A program reloads whenever something of
// it changes, so what was said at its last reload isn't repeated. reload must be held,
// unless the App is being started.
func (a *App) warnOnce(warnings []string) {
	known := make(map[string]bool, len(a.warned))
	if a.options.Program {
		for _, w := range a.warned {
			known[w] = true
		}
	}
	for _, w := range warnings {
		if !known[w] {
			a.slog.Warn(w)
		}
	}
	a.warned = warnings
}
