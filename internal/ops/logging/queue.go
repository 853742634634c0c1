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
	// batchSize is the number of buffered bytes that are written sooner.
	batchSize = 16 << 10
	// keepSize is the size of the largest buffer that is kept at low load, in
	// bytes.
	keepSize = 4 * batchSize
)

// queue buffers lines and writes them in batches. Adding a line never waits for
// the writer.
//
// A quarter of its limit is reserved for important lines. If the queue is full,
// an important line replaces the unimportant ones.
type queue struct {
	w                io.Writer
	limit            int // bytes
	appendDropReport func(b []byte, lost, total uint64) []byte
	wake             chan struct{} // there is something to write
	flush            chan struct{} // a batch is full, or the queue was closed
	done             chan struct{} // run has returned

	mu          sync.Mutex // guards the following; held while a line is copied
	pending     []byte     // whole lines
	lengths     []length   // of the lines in pending
	unimportant int        // bytes of unimportant lines in pending
	dropped     uint64     // lines, since the start
	reported    uint64     // dropped lines that a line in the log has reported
	closed      bool
}

// length is the length of a line in bytes, negative for an important line.
type length int32

func newQueue(w io.Writer, limit int, appendDropReport func([]byte, uint64, uint64) []byte) *queue {
	return &queue{
		w: w, limit: limit, appendDropReport: appendDropReport,
		wake:  make(chan struct{}, 1),
		flush: make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
}

// add copies one line, including its newline, or drops it.
func (q *queue) add(line []byte, important bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := q.limit - len(q.pending)
	if !important {
		room -= q.limit / 4
	} else if len(line) > room && len(line) <= room+q.unimportant {
		q.evict()
		room = q.limit - len(q.pending)
	}
	if q.closed || len(line) > room {
		q.dropped++
		return
	}
	n := length(len(line))
	if important {
		n = -n
	} else {
		q.unimportant += len(line)
	}
	before := len(q.pending)
	q.pending = append(q.pending, line...)
	q.lengths = append(q.lengths, n)
	if before == 0 {
		signal(q.wake)
	}
	if before < batchSize && len(q.pending) >= batchSize {
		signal(q.flush)
	}
}

// evict drops all unimportant lines. It runs at most once each time they have
// filled their part of the queue, so the cost per line is small.
func (q *queue) evict() {
	kept, lengths, from := q.pending[:0], q.lengths[:0], 0
	for _, n := range q.lengths {
		if n > 0 {
			q.dropped++
			from += int(n)
			continue
		}
		kept = append(kept, q.pending[from:from-int(n)]...)
		lengths = append(lengths, n)
		from -= int(n)
	}
	q.pending, q.lengths, q.unimportant = kept, lengths, 0
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes batches until the queue is closed. It has no timer while there are
// no lines. A line that comes after a pause is written at once.
func (q *queue) run() {
	defer close(q.done)
	var batch []byte
	var last time.Time
	for range q.wake {
		if wait := batchInterval - time.Since(last); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-q.flush:
				timer.Stop()
			}
		}
		var lines, reported uint64
		var closed bool
		batch, lines, reported, closed = q.take(batch)
		if len(batch) > 0 {
			if _, err := q.w.Write(batch); err != nil {
				q.writeFailed(lines, reported)
			}
			last = time.Now()
		}
		if closed {
			return
		}
	}
}

// take returns the buffered lines, and a line that reports the lines dropped
// since the last call. The memory of spare, the last batch, is reused.
func (q *queue) take(spare []byte) (batch []byte, lines, reported uint64, closed bool) {
	if cap(spare) > keepSize && len(spare) < batchSize {
		spare = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.flush: // for lines that are in this batch
	default:
	}
	batch, lines = q.pending, uint64(len(q.lengths))
	q.pending, q.lengths, q.unimportant = spare[:0], q.lengths[:0], 0
	if cap(q.lengths) > keepSize/64 && lines < batchSize/64 {
		q.lengths = nil
	}
	if reported = q.dropped - q.reported; reported > 0 {
		q.reported = q.dropped
		batch = q.appendDropReport(batch, reported, q.dropped)
	}
	return batch, lines, reported, q.closed
}

// writeFailed counts the lines of a batch as dropped. The report in it wasn't
// written either.
func (q *queue) writeFailed(lines, reported uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += lines
	q.reported -= reported
}

func (q *queue) droppedLines() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// close ends run after it has written the buffered lines, and waits for it until
// ctx is done.
func (q *queue) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	signal(q.wake)
	signal(q.flush)
	q.mu.Unlock()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
