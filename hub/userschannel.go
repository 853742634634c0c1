package hub

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxReason is the maximum length of the reason in a Close frame: the payload of a
// control frame has at most 125 bytes (RFC 6455, 5.5), two of which are the code.
const maxReason = 123

// userPayload is what is published on the channel that all servers follow, <prefix>users,
// in the form of a payload of a room's channel:
//
//	d <server> <member ID>\n<data>            SendTo
//	x <server> <member ID> <code>\n<reason>   Disconnect
//
// server is the ID of the server that published it. It has already done what the
// payload says, and ignores it. Member IDs are escaped, see escape.
type userPayload struct {
	kind   byte
	server string
	member string
	code   int
	text   string // the data or the reason
}

func (p userPayload) String() string {
	line := string(p.kind) + " " + p.server + " " + escape(p.member)
	if p.kind == 'x' {
		line += " " + strconv.Itoa(p.code)
	}
	return line + "\n" + p.text
}

// parseUserPayload accepts only what SendTo and Disconnect may publish.
func parseUserPayload(s string) (userPayload, error) {
	line, text, found := strings.Cut(s, "\n")
	words := strings.Split(line, " ")
	if !found || len(words) < 3 || words[1] == "" {
		return userPayload{}, errPayload
	}
	member, err := url.PathUnescape(words[2])
	if err := cmp.Or(err, checkName("member ID", member)); err != nil {
		return userPayload{}, err
	}
	p := userPayload{server: words[1], member: member, text: text}
	switch {
	case words[0] == "d" && len(words) == 3:
		p.kind = 'd'
		return p, nil
	case words[0] == "x" && len(words) == 4:
		p.kind = 'x'
		if p.code, err = strconv.Atoi(words[3]); err != nil {
			return userPayload{}, err
		}
		return p, checkClose(p.code, text)
	}
	return userPayload{}, errPayload
}

// checkClose checks that a Close frame may have this code and reason: codes that
// are reserved, like 1006, must not be sent (RFC 6455, 7.4).
func checkClose(code int, reason string) error {
	switch {
	case code < 1000, code > 1014 && code < 3000, code > 4999, code == 1004, code == 1005, code == 1006:
		return fmt.Errorf("%w: a Close frame can't have the status code %d", ErrInvalid, code)
	case len(reason) > maxReason:
		return fmt.Errorf("%w: the reason has %d bytes, the limit is %d", ErrTooLarge, len(reason), maxReason)
	case !utf8.ValidString(reason):
		return fmt.Errorf("%w: the reason isn't UTF-8", ErrInvalid)
	}
	return nil
}

func (o Options) checkSendTo(memberID string, data []byte) error {
	return cmp.Or(checkName("member ID", memberID), o.checkData(data))
}

func checkDisconnect(memberID string, code int, reason string) error {
	return cmp.Or(checkName("member ID", memberID), checkClose(code, reason))
}

func (h *memory) SendTo(ctx context.Context, memberID string, data []byte) error {
	if err := cmp.Or(h.opts.checkSendTo(memberID, data), h.checkOpen(ctx)); err != nil {
		return err
	}
	h.users.direct(memberID, slices.Clone(data))
	return nil
}

func (h *memory) Disconnect(ctx context.Context, memberID string, code int, reason string) error {
	if err := cmp.Or(checkDisconnect(memberID, code, reason), h.checkOpen(ctx)); err != nil {
		return err
	}
	h.users.disconnect(memberID, &DisconnectError{Code: code, Reason: reason})
	return nil
}

// checkOpen returns an error if the hub is closed or ctx has ended.
func (h *memory) checkOpen(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (h *redisHub) usersChannel() string { return h.opts.Prefix + "users" }

func (h *redisHub) SendTo(ctx context.Context, memberID string, data []byte) error {
	if err := cmp.Or(h.opts.checkSendTo(memberID, data), h.checkOpen(ctx)); err != nil {
		return err
	}
	h.users.direct(memberID, slices.Clone(data))
	return h.publishToUsers(ctx, userPayload{kind: 'd', member: memberID, text: string(data)})
}

func (h *redisHub) Disconnect(ctx context.Context, memberID string, code int, reason string) error {
	if err := cmp.Or(checkDisconnect(memberID, code, reason), h.checkOpen(ctx)); err != nil {
		return err
	}
	h.users.disconnect(memberID, &DisconnectError{Code: code, Reason: reason})
	return h.publishToUsers(ctx, userPayload{kind: 'x', member: memberID, code: code, text: reason})
}

func (h *redisHub) publishToUsers(ctx context.Context, p userPayload) error {
	p.server = h.serverID
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	return h.publishOn(ctx, h.usersChannel(), p.String())
}

// usersChannel listens to the channel of users.
type usersChannel struct{ hub *redisHub }

func (usersChannel) onSubscribed() {}
func (usersChannel) onDisconnect() {}

func (c usersChannel) onPayload(text string) {
	h := c.hub
	p, err := parseUserPayload(text)
	switch {
	case err != nil:
		h.opts.Log.Warn("hub: ignoring an invalid payload on the channel of users", "error", err)
	case p.server == h.serverID:
	case p.kind == 'd':
		h.users.direct(p.member, []byte(p.text))
	default:
		h.users.disconnect(p.member, &DisconnectError{Code: p.code, Reason: p.text})
	}
}
