package demo

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// hubRetry is the longest pause between two attempts to reach the hub.
const hubRetry = 500 * time.Millisecond

var (
	errHubAway = errors.New("the hub is away")
	// errOtherHub means that the port has passed to another demo: its
	// message IDs say nothing about ours.
	errOtherHub = errors.New("the hub is not the one this server started with")
)

// hubLink is a server's connection to the hub, made again when it breaks.
type hubLink struct {
	hub  string // address
	self hello  // without After
	room *room

	mu   sync.Mutex
	conn net.Conn // nil while the hub is away
}

// run keeps the room fed until ctx is done (then it returns nil).
func (l *hubLink) run(ctx context.Context) error {
	for {
		err := l.follow(ctx)
		l.room.hubAway()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errOtherHub) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(hubRetry)):
		}
	}
}

// follow connects once and hands on what the hub sends until that ends.
func (l *hubLink) follow(ctx context.Context) error {
	dialer := net.Dialer{Timeout: helloTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", l.hub)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	hi := l.self
	hi.After = l.room.last()
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := json.NewEncoder(conn).Encode(hi); err != nil {
		return err
	}
	defer l.setConn(nil)
	in := json.NewDecoder(conn)
	for first := true; ; first = false {
		var b batch
		if err := in.Decode(&b); err != nil {
			return err
		}
		if first {
			l.setConn(conn)
		}
		if err := l.room.receive(b); err != nil {
			return err
		}
	}
}

func (l *hubLink) setConn(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// post sends p to the hub. Success does not mean that it arrived: that is
// known when it comes back as a message.
func (l *hubLink) post(p post) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return errHubAway
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := json.NewEncoder(l.conn).Encode(p); err != nil {
		_ = l.conn.Close() // a line may be half written
		return errHubAway
	}
	return nil
}
