package hub

import (
	"cmp"
	"context"
	"errors"
)

// maxPages limits the pages in one pipeline.
const maxPages = 100

// pageReader is a membership that waits for the next page of the history of its room.
type pageReader struct {
	room       *redisRoom
	membership *Membership
}

// readPage schedules the reading of the next page. The caller holds the mutex of the
// membership.
func (m *maintainer) readPage(r *redisRoom, member *Membership) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pages = append(m.pages, pageReader{r, member})
	m.signal()
}

// readPages reads one page for each of the memberships that wait for one. Those that
// need the same share it.
func (m *maintainer) readPages(ctx context.Context) error {
	m.mu.Lock()
	n := min(len(m.pages), maxPages)
	readers := m.pages[:n:n]
	m.pages = m.pages[n:]
	m.mu.Unlock()
	if len(readers) == 0 {
		return nil
	}
	type key struct {
		room  *redisRoom
		after id
	}
	calls := make([]*scriptCall, 0, len(readers))
	index := make(map[key]int)
	waiting := make([][]pageReader, 0, len(readers))
	requests := make([]historyRequest, 0, len(readers))
	for _, r := range readers {
		request, ok := r.membership.pageRequest()
		if !ok {
			continue
		}
		k := key{r.room, request.since}
		i, ok := index[k]
		if !ok {
			i = len(calls)
			index[k] = i
			calls = append(calls, &scriptCall{keys: []string{r.room.keys.stream()}, args: request.args()})
			waiting, requests = append(waiting, nil), append(requests, request)
		}
		waiting[i] = append(waiting[i], r)
	}
	if len(calls) == 0 {
		return nil
	}
	err := runAll(ctx, m.hub.client, historyScript, calls)
	for i, c := range calls {
		room := waiting[i][0].room
		reply, failed := c.cmd.Result()
		var p historyPage
		if failed == nil {
			p, failed = parsePage(room.room, requests[i], reply)
		}
		if failed != nil {
			err = errors.Join(err, failed)
			m.mu.Lock()
			m.pages = append(m.pages, waiting[i]...)
			m.mu.Unlock()
			continue
		}
		for _, r := range waiting[i] {
			r.membership.addPage(p)
		}
	}
	return err
}

func (h *redisHub) HistoryOf(ctx context.Context, room, since string, limit int) ([]Event, error) {
	request, err := h.opts.checkHistory(room, since, limit)
	if err := cmp.Or(err, h.checkOpen(ctx)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	var all []Event
	for {
		p, err := h.readHistory(ctx, room, request)
		if err != nil {
			return nil, h.unavailable(err)
		}
		all = append(all, p.list(room, h.opts.Encode)...)
		request.count -= len(p.events)
		if !p.more() || request.count <= 0 {
			return all, nil
		}
		request.hasSince, request.since = true, p.end()
	}
}
