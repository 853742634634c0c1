package simulate

import "context"

// Run runs a scenario with the pool and the clients of these indexes. The error is
// that of ctx, or says that the pool's balance is unknown. Runs share nothing and
// may be concurrent.
func Run(ctx context.Context, s *Scenario, pool, clients int) (*Result, error) {
	w, err := newWorld(s, &s.Pools[pool], &s.Clients[clients])
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e, ok := w.next(s.Duration)
		if !ok {
			return w.meter.finish(w), nil
		}
		w.handle(e)
	}
}
