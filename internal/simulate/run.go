package simulate

import "context"

// Run has a scenario happen with the pool and the clients of these numbers.
// The error is that of ctx, or that the pool's balance is unknown. Runs share
// nothing, and may be made at the same time.
func Run(ctx context.Context, s *Scenario, pool, clients int) (*Result, error) {
	w, err := newWorld(s, &s.Pools[pool], &s.Clients[clients])
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e, ok := w.take(s.Duration)
		if !ok {
			return w.meter.end(w), nil
		}
		w.happen(e)
	}
}
