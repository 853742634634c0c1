package protocol

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// text is the protocol for servers without a protocol of their own: each message is a
// line of words.
//
//	echo N MS     answered after MS milliseconds by: echo N LAST
//	start MS      event N, every MS milliseconds; 0 stops it
//	ack N         answered by: acked N
//
// Other messages are ignored, so that a server may have more.
type text struct{ conn Conn }

func startText(_ context.Context, c Conn) (Session, error) { return text{c}, nil }

func (t text) send(ctx context.Context, format string, args ...any) error {
	return t.conn.Send(ctx, false, fmt.Appendf(nil, format, args...))
}

func (t text) Ask(ctx context.Context, n int, delay time.Duration) error {
	return t.send(ctx, "echo %d %d", n, delay.Milliseconds())
}

func (t text) Start(ctx context.Context, every time.Duration) error {
	return t.send(ctx, "start %d", every.Milliseconds())
}

func (t text) Confirm(ctx context.Context, m Message) error { return t.send(ctx, "ack %d", m.N) }

func (t text) Join(context.Context, string) error              { return nil }
func (t text) Tell(context.Context, string, string, int) error { return nil }

func (t text) Next(ctx context.Context) (Message, error) {
	for {
		binary, data, err := t.conn.Receive(ctx)
		if err != nil {
			return Message{}, err
		}
		if m, ok := parseLine(string(data)); ok && !binary {
			return m, nil
		}
	}
}

func parseLine(line string) (m Message, ok bool) {
	words := strings.Fields(line)
	number := func(i int) (n int) {
		n, err := strconv.Atoi(words[i])
		ok = ok && err == nil && n >= 0
		return n
	}
	ok = true
	switch {
	case len(words) == 3 && words[0] == "echo":
		m = Message{Kind: Answer, N: number(1), Last: number(2)}
	case len(words) == 2 && words[0] == "event":
		m = Message{Kind: Event, N: number(1)}
	case len(words) == 2 && words[0] == "acked":
		m = Message{Kind: Confirmed, N: number(1)}
	default:
		return m, false
	}
	return m, ok
}
