package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/doctor/protocol/packet"
)

// The events of the test application, see kits/socketio/conformance.js.
const (
	eventEcho      = "holdfast:echo"
	eventStart     = "holdfast:start"
	eventNumbered  = "holdfast:event"
	eventConfirmed = "holdfast:acked"
	eventJoin      = "holdfast:join"
	eventTell      = "holdfast:broadcast"
)

// attachEvery is how often a message has a binary attachment.
const attachEvery = 5

// socketioTarget adds the parameters of a client that uses WebSockets only. The path is
// that of all clients unless the URL has one.
func socketioTarget(u *url.URL) string {
	query := u.Query()
	query.Set("EIO", "4")
	query.Set("transport", "websocket")
	path := u.EscapedPath()
	if path == "" || path == "/" {
		path = "/socket.io/"
	}
	return path + "?" + query.Encode()
}

// socketio is a client of Socket.IO, versions 3 and 4 of the server.
type socketio struct {
	conn    Conn
	open    packet.OpenPacket
	decoder packet.Decoder
	pinged  time.Time // when the server last sent a ping

	sending sync.Mutex // keeps a packet and its attachments together
	ids     int
}

// Auth returns a Protocol whose clients give auth, a JSON object, when they connect.
func (p Protocol) Auth(auth string) Protocol {
	p.Start = func(ctx context.Context, c Conn) (Session, error) { return startSocketIOWith(ctx, c, auth) }
	return p
}

func startSocketIO(ctx context.Context, c Conn) (Session, error) {
	return startSocketIOWith(ctx, c, "")
}

func startSocketIOWith(ctx context.Context, c Conn, auth string) (Session, error) {
	s := &socketio{conn: c}
	binary, data, err := c.Receive(ctx)
	if err != nil {
		return nil, err
	}
	if binary || len(data) == 0 || data[0] != packet.Open {
		return nil, &Error{What: fmt.Sprintf("the first message isn't an open packet of Engine.IO 4, but %.40q", data)}
	}
	if s.open, err = packet.DecodeOpen(string(data[1:])); err != nil {
		return nil, &Error{What: err.Error()}
	}
	s.pinged = time.Now()
	connect := packet.Packet{Type: packet.Connect, ID: packet.NoID}
	if auth != "" {
		connect.Args = []json.RawMessage{json.RawMessage(auth)}
	}
	if err := s.send(ctx, &connect); err != nil {
		return nil, err
	}
	for {
		p, err := s.receive(ctx)
		switch {
		case err != nil:
			return nil, err
		case p.Type == packet.Connect:
			return s, nil
		case p.Type == packet.ConnectError:
			return nil, &Error{What: fmt.Sprintf("it refuses the client: %.100s", bytes.Join(rawBytes(p.Args), nil))}
		}
	}
}

func rawBytes(args []json.RawMessage) (all [][]byte) {
	for _, a := range args {
		all = append(all, a)
	}
	return all
}

func (s *socketio) send(ctx context.Context, p *packet.Packet) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.conn.Send(ctx, false, p.Text()); err != nil {
		return err
	}
	for _, a := range p.Attachments {
		if err := s.conn.Send(ctx, true, a); err != nil {
			return err
		}
	}
	return nil
}

// receive returns the next packet. It answers pings of Engine.IO, and fails if there is
// none for so long that a client would give up.
func (s *socketio) receive(ctx context.Context) (*packet.Packet, error) {
	for {
		wait := time.Duration(s.open.PingInterval+s.open.PingTimeout) * time.Millisecond
		reading, cancel := context.WithDeadline(ctx, s.pinged.Add(wait))
		binary, data, err := s.conn.Receive(reading)
		late := errors.Is(reading.Err(), context.DeadlineExceeded) && ctx.Err() == nil
		cancel()
		switch {
		case err != nil && late:
			return nil, &Error{What: fmt.Sprintf("there was no ping of Engine.IO for %v, so the client gave up", wait)}
		case err != nil:
			return nil, err
		}
		p, err := s.decode(ctx, binary, data)
		if p != nil || err != nil {
			return p, err
		}
	}
}

// decode returns a packet if it is complete.
func (s *socketio) decode(ctx context.Context, binary bool, data []byte) (*packet.Packet, error) {
	wrap := func(p *packet.Packet, err error) (*packet.Packet, error) {
		if err != nil {
			return nil, &Error{What: err.Error()}
		}
		return p, nil
	}
	if binary {
		return wrap(s.decoder.Binary(data))
	}
	if len(data) == 0 {
		return nil, &Error{What: "an empty message"}
	}
	switch rest := string(data[1:]); data[0] {
	case packet.Ping:
		s.pinged = time.Now()
		return nil, s.conn.Send(ctx, false, append([]byte{packet.Pong}, rest...))
	case packet.Message:
		return wrap(s.decoder.Text(rest))
	case packet.Noop:
		return nil, nil
	case packet.Open:
		return nil, &Error{What: "an open packet in the middle of a session", NewSession: true}
	case packet.Close:
		return nil, &Error{What: "a close packet of Engine.IO"}
	}
	return nil, &Error{What: fmt.Sprintf("an unknown packet of Engine.IO: %.40q", data)}
}

// emit sends an event whose first argument is the name.
func (s *socketio) emit(ctx context.Context, id int, attachment []byte, name string, args ...any) error {
	p := packet.Packet{Type: packet.Event, ID: id}
	for _, arg := range append([]any{name}, args...) {
		text, err := json.Marshal(arg)
		if err != nil {
			return err
		}
		p.Args = append(p.Args, text)
	}
	if attachment != nil {
		p.Args = append(p.Args, packet.Placeholder(0))
		p.Attachments = [][]byte{attachment}
	}
	return s.send(ctx, &p)
}

// attachment is the attachment of message n; nil for none. Its answer has the same.
func attachment(n int) []byte {
	if n%attachEvery != 0 {
		return nil
	}
	return bytes.Repeat([]byte{0xff, byte(n), 0}, 1+n%50)
}

// Ask uses the number as the packet's ID, as a client does that asks for nothing else.
func (s *socketio) Ask(ctx context.Context, n int, delay time.Duration) error {
	return s.emit(ctx, n, attachment(n), eventEcho, n, delay.Milliseconds())
}

func (s *socketio) Start(ctx context.Context, every time.Duration) error {
	return s.emit(ctx, packet.NoID, nil, eventStart, every.Milliseconds())
}

func (s *socketio) Join(ctx context.Context, room string) error {
	return s.emit(ctx, packet.NoID, nil, eventJoin, room)
}

func (s *socketio) Tell(ctx context.Context, room, from string, n int) error {
	return s.emit(ctx, packet.NoID, nil, eventTell, room, from, n)
}

// Confirm sends nothing if the server hasn't asked for it, as it may after a loss.
func (s *socketio) Confirm(ctx context.Context, m Message) error {
	if m.id == packet.NoID {
		return nil
	}
	return s.send(ctx, &packet.Packet{Type: packet.Ack, ID: m.id, Args: []json.RawMessage{json.RawMessage(strconv.Itoa(m.N))}})
}

func (s *socketio) Next(ctx context.Context) (Message, error) {
	for {
		p, err := s.receive(ctx)
		if err != nil {
			return Message{}, err
		}
		switch p.Type {
		case packet.Ack:
			return answer(p)
		case packet.Event:
			if m, ok := eventOf(p); ok {
				return m, nil
			}
		case packet.Connect:
			return Message{}, &Error{What: "a second answer to the client's CONNECT", NewSession: true}
		case packet.Disconnect:
			return Message{}, &Error{What: "a DISCONNECT packet"}
		case packet.ConnectError:
			return Message{}, &Error{What: fmt.Sprintf("a CONNECT_ERROR packet: %.100s", bytes.Join(rawBytes(p.Args), nil)), NewSession: true}
		}
	}
}

// answer checks the Ack of an echo.
func answer(p *packet.Packet) (Message, error) {
	n, ok := p.Int(0)
	last, known := p.Int(1)
	if !ok || !known || n != p.ID {
		return Message{}, &Error{What: fmt.Sprintf("message %d was answered with %.60s instead of [%[1]d, LAST]", p.ID, bytes.Join(rawBytes(p.Args), []byte(",")))}
	}
	if want := attachment(n); want != nil {
		var got []byte
		if len(p.Args) > 2 {
			got, _ = p.Attachment(p.Args[2])
		}
		if !bytes.Equal(got, want) {
			return Message{}, &Error{What: fmt.Sprintf("the attachment of message %d came back as %d bytes that differ", n, len(got))}
		}
	}
	return Message{Kind: Answer, N: n, Last: last}, nil
}

// eventOf returns a message of the test application. Other events are ignored.
func eventOf(p *packet.Packet) (m Message, ok bool) {
	switch p.Name() {
	case eventNumbered:
		m = Message{Kind: Event, id: p.ID}
		m.N, ok = p.Int(1)
	case eventConfirmed:
		m = Message{Kind: Confirmed}
		m.N, ok = p.Int(1)
	case eventTell:
		m = Message{Kind: Told}
		m.N, ok = p.Int(2)
		ok = ok && json.Unmarshal(p.Args[1], &m.From) == nil
	}
	return m, ok
}
