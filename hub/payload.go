package hub

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// payload is what is published on a room's channel: a line of words separated by
// spaces, and for some kinds the data, unescaped.
//
//	m <id> <ID of the message before>\n<data>            message
//	m <id> <ID of the message before> <sender>\n<data>   message with a sender
//	n\n<data>                                            notice
//	+ <version> <entry> <member ID>\n<data>              a membership has begun
//	- <version> <entry>                                  a membership has ended
//
// version numbers the changes of a room's members. An entry is
// <server ID>/<number>. Senders and member IDs are escaped, see escape.
type payload struct {
	kind    byte
	id      id
	prev    id
	sender  string
	version uint64
	entry   string
	member  Member
	data    string
}

var errPayload = errors.New("not a payload of a hub")

func parsePayload(s string) (payload, error) {
	line, data, _ := strings.Cut(s, "\n")
	words := strings.Split(line, " ")
	p := payload{data: data}
	var err, err2 error
	switch kind := words[0]; {
	case kind == "m" && (len(words) == 3 || len(words) == 4 && words[3] != ""):
		p.id, err = parseID(words[1])
		p.prev, err2 = parseID(words[2])
		if len(words) == 4 && err == nil {
			p.sender, err = url.PathUnescape(words[3])
		}
	case kind == "n" && len(words) == 1:
	case kind == "+" && len(words) == 4:
		p.version, err = strconv.ParseUint(words[1], 10, 64)
		p.entry = words[2]
		p.member, err2 = parseMember(words[3] + "\n" + data)
	case kind == "-" && len(words) == 3:
		p.version, err = strconv.ParseUint(words[1], 10, 64)
		p.entry = words[2]
	default:
		return payload{}, errPayload
	}
	p.kind = words[0][0]
	return p, errors.Join(err, err2)
}

func formatNotice(data []byte) string { return "n\n" + string(data) }

func formatMember(m Member) string {
	return escape(m.ID) + "\n" + string(m.Data)
}

func parseMember(s string) (Member, error) {
	escaped, data, ok := strings.Cut(s, "\n")
	if !ok {
		return Member{}, errPayload
	}
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return Member{}, err
	}
	m := Member{ID: name}
	if data != "" {
		m.Data = []byte(data)
	}
	return m, nil
}

// roomKeys makes the Redis keys of a room from its channel. The braces put them into
// the same hash slot. The room's name is escaped so that it can't contain a closing
// brace. They are made when they are needed, since there may be many rooms.
type roomKeys struct {
	channel string // pub/sub channel
}

// stream is that of messages: p is the ID of the message before, k the key, s the
// sender, d the data.
func (k roomKeys) stream() string { return k.channel + ":s" }

// keys is a hash of key to ID, for the messages in the stream, and the state of
// publish.lua.
func (k roomKeys) keys() string { return k.channel + ":k" }

// members is a hash of entry to member; b is the epoch, v the version.
func (k roomKeys) members() string { return k.channel + ":m" }

func keysOf(prefix, room string) roomKeys { return roomKeys{channelOf(prefix, room)} }

func channelOf(prefix, room string) string { return prefix + "{" + escape(room) + "}" }

// escape is encodeURIComponent of JavaScript extended to arbitrary bytes, so that
// servers in other languages can easily compute the same keys.
func escape(s string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
