package app

import (
	"reflect"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/scenario"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
)

// The configuration accepts exactly the algorithms that exist. A scenario may lack
// some.
func TestBalanceWords(t *testing.T) {
	words := func(pool reflect.Type) []string {
		for _, k := range config.KeysOf(pool) {
			if k.Name == "balance" {
				return slices.Sorted(slices.Values(k.Words))
			}
		}
		return nil
	}
	algorithms := slices.Sorted(slices.Values(balance.Algorithms()))
	if got := words(reflect.TypeFor[config.Pool]()); !slices.Equal(got, algorithms) {
		t.Errorf("balance may be %v in the configuration; stage/balance has %v", got, algorithms)
	}
	scenarios := words(reflect.TypeFor[scenario.Pool]())
	if len(scenarios) == 0 {
		t.Error("balance may be nothing in a scenario")
	}
	for _, word := range words(reflect.TypeFor[scenario.Pool]()) {
		if !slices.Contains(algorithms, word) {
			t.Errorf("balance may be %s in a scenario; stage/balance has %v", word, algorithms)
		}
	}
}
