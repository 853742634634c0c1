package hub

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// What is published on a room's channel: a line of words, and, for what has
// data, the data as it is.
//
//	m <id> <id of the message before>\n<data>   a message
//	n\n<data>                                   a notice
//	+ <version> <entry> <member ID>\n<data>     a membership began
//	- <version> <entry>                         a membership ended
//
// A version numbers the changes of a room's members. An entry is
// <server>/<number>; member IDs are escaped, see escape.
type payload struct {
	kind    byte
	id      id
	prev    id
	version uint64
	entry   string
	member  Member
	data    string
}

var errWire = errors.New("not what a hub publishes")

func parsePayload(s string) (payload, error) {
	line, data, _ := strings.Cut(s, "\n")
	words := strings.Split(line, " ")
	p := payload{data: data}
	var err, err2 error
	switch kind := words[0]; {
	case kind == "m" && len(words) == 3:
		p.id, err = parseID(words[1])
		p.prev, err2 = parseID(words[2])
	case kind == "n" && len(words) == 1:
	case kind == "+" && len(words) == 4:
		p.version, err = strconv.ParseUint(words[1], 10, 64)
		p.entry = words[2]
		p.member, err2 = parseMember(words[3] + "\n" + data)
	case kind == "-" && len(words) == 3:
		p.version, err = strconv.ParseUint(words[1], 10, 64)
		p.entry = words[2]
	default:
		return payload{}, errWire
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
		return Member{}, errWire
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

// roomKeys are the names of a room in Redis. The braces keep them in one slot;
// the room is escaped, so that nothing in its name can end them.
type roomKeys struct {
	channel string // pub/sub
	stream  string // messages: p the ID before, k the key, d the data
	keys    string // hash: key of a message in the stream, its ID
	members string // hash: entry, member; b, the epoch; v, the version
}

func keysOf(prefix, room string) roomKeys {
	base := channelOf(prefix, room)
	return roomKeys{base, base + ":s", base + ":k", base + ":m"}
}

func channelOf(prefix, room string) string { return prefix + "{" + escape(room) + "}" }

// escape does what JavaScript's encodeURIComponent does, and takes any bytes,
// so that servers in other languages come to the same keys.
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
