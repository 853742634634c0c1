package hub

import (
	"context"
	"errors"
	"fmt"
)

// awaitLive waits until the room is live. It fails as soon as the last attempt to
// connect to Redis has failed.
func (r *redisRoom) awaitLive(ctx context.Context) error {
	for {
		failure, changed := r.hub.subscriber.failure(&r.sub)
		r.mu.Lock()
		ready, state := r.ready, r.state
		r.mu.Unlock()
		switch {
		case state == live:
			return nil
		case failure != nil:
			return failure
		}
		select {
		case <-ready:
			return nil
		case <-changed:
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.syncErr != nil {
				return fmt.Errorf("%w: %w", ctx.Err(), r.syncErr)
			}
			return r.hub.subscriber.explain(ctx.Err())
		case <-r.hub.ctx.Done():
			return ErrClosed
		}
	}
}

// onSyncFailed is called when reading the snapshot has failed. It will be tried
// again.
func (r *redisRoom) onSyncFailed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncErr = err
}

// failure returns why the last attempt to connect to the shard of a subscription
// has failed. It returns nil if there is a connection, and while the first attempt
// is going on. changed is closed when the result may have changed.
func (s *subscriber) failure(sub *subscription) (err error, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.inGrace && !s.wasConnected:
	case sub.shard != nil:
		err = sub.shard.err
	case !sub.moving:
		err = s.routeErr
	}
	return err, s.changed
}

// ready waits until there is a connection.
func (s *subscriber) ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		done, changed := s.allConnected(), s.changed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s.explain(ctx.Err())
		case <-s.hub.ctx.Done():
			return ErrClosed
		}
	}
}

// explain adds to err why the last attempts to connect have failed, if they have.
func (s *subscriber) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	causes := []error{s.routeErr}
	for _, sh := range s.shards {
		causes = append(causes, sh.err)
	}
	if cause := errors.Join(causes...); cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
