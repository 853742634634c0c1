package logging

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	// batchInterval is the shortest time between two writes under load.
	batchInterval = 100 * time.Millisecond
	// batchSize is how much has to wait, in bytes, to be written sooner.
	batchSize = 64 << 10
	// keepSize is the biggest buffer that is kept when lines become few.
	keepSize = 4 * batchSize
)

// queue takes lines without ever waiting and writes them out in batches.
//
// Of its limit, a quarter is open to important lines only. If that is full as
// well, an important line takes the place of unimportant ones that wait.
type queue struct {
	w          io.Writer
	limit      int
	appendLoss func(b []byte, lost, total uint64) []byte
	wake       chan struct{} // there is something to write
	hurry      chan struct{} // there is much to write, or the end is near
	done       chan struct{} // run has returned

	mu        sync.Mutex // guards the following; held for a copy of a line
	pending   []byte     // whole lines
	marks     []mark     // one for each of them
	plain     int        // the bytes of unimportant lines among them
	dropped   uint64     // lines, in all
	confessed uint64     // of these, how many the log itself has told
	closed    bool
}

// mark is a line's length in bytes, with the sign telling its importance:
// negative is important.
type mark int32

func newQueue(w io.Writer, limit int, appendLoss func([]byte, uint64, uint64) []byte) *queue {
	return &queue{
		w: w, limit: limit, appendLoss: appendLoss,
		wake:  make(chan struct{}, 1),
		hurry: make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
}

// add copies one line, with its newline, into the queue, or drops it.
func (q *queue) add(line []byte, important bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := q.limit - len(q.pending)
	if !important {
		room -= q.limit / 4
	} else if len(line) > room && len(line) <= room+q.plain {
		q.evict()
		room = q.limit - len(q.pending)
	}
	if q.closed || len(line) > room {
		q.dropped++
		return
	}
	m := mark(len(line))
	if important {
		m = -m
	} else {
		q.plain += len(line)
	}
	before := len(q.pending)
	q.pending = append(q.pending, line...)
	q.marks = append(q.marks, m)
	if before == 0 {
		signal(q.wake)
	}
	if before < batchSize && len(q.pending) >= batchSize {
		signal(q.hurry)
	}
}

// evict drops all unimportant lines that wait. It runs at most once for every
// time that the part of the queue open to them was filled, so its cost a line
// is small.
func (q *queue) evict() {
	kept, marks, from := q.pending[:0], q.marks[:0], 0
	for _, m := range q.marks {
		if m > 0 {
			q.dropped++
			from += int(m)
			continue
		}
		kept = append(kept, q.pending[from:from-int(m)]...)
		marks = append(marks, m)
		from -= int(m)
	}
	q.pending, q.marks, q.plain = kept, marks, 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes until the queue is closed. Without lines it waits without a
// timer; a line that comes after a pause is written at once.
func (q *queue) run() {
	defer close(q.done)
	var batch []byte
	var last time.Time
	for range q.wake {
		if wait := batchInterval - time.Since(last); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-q.hurry:
				timer.Stop()
			}
		}
		var lines, lost uint64
		var closed bool
		batch, lines, lost, closed = q.take(batch)
		if len(batch) > 0 {
			if _, err := q.w.Write(batch); err != nil {
				q.lose(lines, lost)
			}
			last = time.Now()
		}
		if closed {
			return
		}
	}
}

// take swaps the lines that wait for an empty buffer, and appends the line
// that tells of those lost since the last time.
// spare is the last batch, whose array is used again.
func (q *queue) take(spare []byte) (batch []byte, lines, lost uint64, closed bool) {
	if cap(spare) > keepSize && len(spare) < batchSize {
		spare = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.hurry: // of lines that are in this batch
	default:
	}
	batch, lines = q.pending, uint64(len(q.marks))
	q.pending, q.marks, q.plain = spare[:0], q.marks[:0], 0
	if cap(q.marks) > keepSize/64 && lines < batchSize/64 {
		q.marks = nil
	}
	if lost = q.dropped - q.confessed; lost > 0 {
		q.confessed = q.dropped
		batch = q.appendLoss(batch, lost, q.dropped)
	}
	return batch, lines, lost, q.closed
}

// lose counts the lines of a batch that could not be written. The loss of
// confessed lines was not told either then.
func (q *queue) lose(lines, confessed uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += lines
	q.confessed -= confessed
}

func (q *queue) droppedLines() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// close has what waits written, and ends run.
func (q *queue) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	signal(q.wake)
	signal(q.hurry)
	q.mu.Unlock()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
