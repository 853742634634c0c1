// Package packet has the packets of Engine.IO 4 and of Socket.IO 5, which Socket.IO
// servers of versions 3 and 4 speak. It knows what a client on a WebSocket needs.
// Namespaces other than "/", and the parsers that replace JSON, aren't in it.
package packet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Types of Engine.IO packets: the first character of a text message. A binary message
// is an attachment of the Socket.IO packet before it.
const (
	Open    = '0'
	Close   = '1'
	Ping    = '2'
	Pong    = '3'
	Message = '4' // with a Socket.IO packet
	Noop    = '6'
)

// Types of Socket.IO packets.
const (
	Connect      = '0'
	Disconnect   = '1'
	Event        = '2'
	Ack          = '3'
	ConnectError = '4'
	binaryEvent  = '5'
	binaryAck    = '6'
)

// NoID is the ID of a packet without one.
const NoID = -1

// Limits on what a server may send.
const (
	maxAttachments = 16
	maxIDDigits    = 18 // fit an int64; servers that number by session use large ones
)

// Packet is a Socket.IO packet of the namespace "/".
type Packet struct {
	Type byte // Event and Ack also if there are attachments
	ID   int  // of an event that wants an Ack, and of that Ack; or NoID
	// Args are the arguments: of an event the name is the first. Connect, ConnectError and
	// Disconnect have at most one. A binary argument is a placeholder, see Placeholder.
	Args        []json.RawMessage
	Attachments [][]byte
}

// Placeholder is the argument that stands for an attachment.
func Placeholder(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"_placeholder":true,"num":%d}`, n))
}

// Attachment returns the attachment that an argument stands for; false if it is none.
func (p *Packet) Attachment(arg json.RawMessage) ([]byte, bool) {
	var holder struct {
		Placeholder bool `json:"_placeholder"`
		Num         int  `json:"num"`
	}
	if json.Unmarshal(arg, &holder) != nil || !holder.Placeholder || holder.Num < 0 || holder.Num >= len(p.Attachments) {
		return nil, false
	}
	return p.Attachments[holder.Num], true
}

// Text returns the packet as a text message, with its Engine.IO type. The attachments
// follow it as binary messages.
func (p *Packet) Text() []byte {
	b := []byte{Message, p.Type}
	if len(p.Attachments) > 0 {
		b[1] += binaryEvent - Event
		b = append(strconv.AppendInt(b, int64(len(p.Attachments)), 10), '-')
	}
	if p.ID != NoID {
		b = strconv.AppendInt(b, int64(p.ID), 10)
	}
	switch {
	case p.Type == Event || p.Type == Ack:
		b = append(b, '[')
		for i, arg := range p.Args {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, arg...)
		}
		b = append(b, ']')
	case len(p.Args) > 0:
		b = append(b, p.Args[0]...)
	}
	return b
}

// Decoder puts packets together from messages. The zero value is ready.
type Decoder struct {
	pending *Packet // waits for attachments
	missing int
}

// Text decodes the content of a Message, without its Engine.IO type. The packet is nil
// if its attachments are still to come.
func (d *Decoder) Text(text string) (*Packet, error) {
	if d.pending != nil {
		return nil, fmt.Errorf("a packet while %d attachments of the one before are missing: %.40q", d.missing, text)
	}
	p, attachments, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %.40q", err, text)
	}
	if attachments > 0 {
		d.pending, d.missing = p, attachments
		return nil, nil
	}
	return p, nil
}

// Binary decodes a binary message. The packet is nil if other attachments are still to
// come. It keeps data.
func (d *Decoder) Binary(data []byte) (*Packet, error) {
	if d.pending == nil {
		return nil, fmt.Errorf("an attachment without a packet: %d bytes, % .8x", len(data), data)
	}
	p := d.pending
	p.Attachments = append(p.Attachments, data)
	if d.missing--; d.missing > 0 {
		return nil, nil
	}
	d.pending = nil
	return p, nil
}

func decode(text string) (p *Packet, attachments int, err error) {
	if text == "" {
		return nil, 0, errors.New("an empty packet")
	}
	p = &Packet{Type: text[0], ID: NoID}
	rest := text[1:]
	switch p.Type {
	case Connect, Disconnect, ConnectError:
		p.Args, err = decodeOne(rest)
		return p, 0, err
	case binaryEvent, binaryAck:
		count, after, ok := strings.Cut(rest, "-")
		attachments, err = strconv.Atoi(count)
		if !ok || err != nil || attachments < 0 || attachments > maxAttachments {
			return nil, 0, errors.New("bad number of attachments")
		}
		p.Type -= binaryEvent - Event
		rest = after
	case Event, Ack:
	default:
		return nil, 0, errors.New("unknown type of packet")
	}
	if strings.HasPrefix(rest, "/") {
		return nil, 0, errors.New("another namespace")
	}
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	if digits > maxIDDigits {
		return nil, 0, errors.New("bad ID")
	}
	if digits > 0 {
		p.ID, _ = strconv.Atoi(rest[:digits])
	}
	if err := json.Unmarshal([]byte(rest[digits:]), &p.Args); err != nil || p.Args == nil {
		return nil, 0, errors.New("the arguments aren't an array of JSON")
	}
	switch {
	case p.Type == Ack && p.ID == NoID:
		return nil, 0, errors.New("an ack without an ID")
	case p.Type == Event && p.Name() == "":
		return nil, 0, errors.New("an event without a name")
	}
	return p, attachments, nil
}

// decodeOne decodes an optional argument.
func decodeOne(text string) ([]json.RawMessage, error) {
	switch {
	case strings.HasPrefix(text, "/"):
		return nil, errors.New("another namespace")
	case text == "":
		return nil, nil
	case !json.Valid([]byte(text)):
		return nil, errors.New("the argument isn't JSON")
	}
	return []json.RawMessage{json.RawMessage(text)}, nil
}

// Name returns the name of an event; "" if it has none.
func (p *Packet) Name() (name string) {
	if len(p.Args) > 0 {
		_ = json.Unmarshal(p.Args[0], &name)
	}
	return name
}

// Int returns an argument that is an integer.
func (p *Packet) Int(i int) (n int, ok bool) {
	if i >= len(p.Args) {
		return 0, false
	}
	// null would leave n as it is.
	return n, string(p.Args[i]) != "null" && json.Unmarshal(p.Args[i], &n) == nil
}

// OpenPacket is the content of an Open.
type OpenPacket struct {
	SID          string `json:"sid"`
	PingInterval int    `json:"pingInterval"` // ms
	PingTimeout  int    `json:"pingTimeout"`  // ms
}

// DecodeOpen decodes an Open, without its type.
func DecodeOpen(text string) (o OpenPacket, err error) {
	err = json.Unmarshal([]byte(text), &o)
	switch {
	case err != nil:
		return o, errors.New("the open packet isn't JSON")
	case o.SID == "" || o.PingInterval <= 0 || o.PingTimeout <= 0:
		return o, errors.New("the open packet lacks sid, pingInterval or pingTimeout")
	}
	return o, nil
}
