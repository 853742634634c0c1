package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

// holdfast is the package hub.
type holdfast struct {
	ctx     context.Context
	hubs    []hub.Hub
	reading sync.WaitGroup
	rejoins atomic.Int64
}

func openHub(ctx context.Context, url string, noPresence bool) (system, error) {
	h := &holdfast{ctx: ctx}
	for range servers {
		one, err := hub.Redis(hub.RedisOptions{URL: url, Options: hub.Options{NoPresence: noPresence}})
		if err != nil {
			return nil, err
		}
		h.hubs = append(h.hubs, one)
	}
	return h, nil
}

func (h *holdfast) join(server int, room, member string, receive func([]byte)) error {
	m, err := h.hubs[server].Join(h.ctx, room, hub.Member{ID: member}, hub.JoinOptions{})
	if err != nil {
		return err
	}
	h.reading.Go(func() {
		for m != nil {
			e, err := m.Next(h.ctx)
			if err == nil {
				if e.Kind == hub.Message {
					receive(e.Data)
				}
				continue
			}
			m.Leave()
			m = h.rejoin(server, room, member, m.Last())
		}
	})
	return nil
}

// rejoin returns nil after close.
func (h *holdfast) rejoin(server int, room, member, since string) *hub.Membership {
	for h.ctx.Err() == nil {
		m, err := h.hubs[server].Join(h.ctx, room, hub.Member{ID: member}, hub.JoinOptions{Since: since})
		if err == nil {
			h.rejoins.Add(1)
			return m
		}
		if code, _ := hub.CloseStatus(err); code == 1001 {
			return nil // the hub is closed
		}
		pauseBeforeRejoin()
	}
	return nil
}

// pauseBeforeRejoin waits as a client does before it connects again.
func pauseBeforeRejoin() { time.Sleep(time.Duration(rand.Int64N(int64(200 * time.Millisecond)))) }

func (h *holdfast) publish(server int, room, key string, data []byte) error {
	_, err := h.hubs[server].PublishWith(h.ctx, room, data, hub.PublishOptions{Key: key})
	return err
}

func (h *holdfast) rejoined() int { return int(h.rejoins.Load()) }

func (h *holdfast) close() {
	for _, one := range h.hubs {
		_ = one.Close()
	}
	h.reading.Wait()
}
