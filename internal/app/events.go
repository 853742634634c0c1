package app

import (
	"context"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func (o operated) Events(ctx context.Context, after uint64, f func(api.Event) error) error {
	return notYet()
}
