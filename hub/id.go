package hub

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
)

// id is the ID of an entry of a Redis stream: the time in milliseconds, and a
// number within the millisecond. The zero id is before all messages.
type id struct{ ms, seq uint64 }

var errID = errors.New("not a message ID")

// parseID accepts exactly the format of String. It must be strict because an ID
// comes from a client and is passed to Redis commands, in which "-", "+", "$"
// and "(" have special meanings.
func parseID(s string) (id, error) {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok || !isNumber(ms) || !isNumber(seq) {
		return id{}, errID
	}
	// 63 bits: Redis rejects a range that starts after the largest 64-bit ID.
	a, err1 := strconv.ParseUint(ms, 10, 63)
	b, err2 := strconv.ParseUint(seq, 10, 63)
	if err1 != nil || err2 != nil {
		return id{}, errID
	}
	return id{a, b}, nil
}

// isNumber reports whether s is a decimal number without sign or leading zeros.
func isNumber(s string) bool {
	return s == "0" || s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

func (i id) String() string {
	return strconv.FormatUint(i.ms, 10) + "-" + strconv.FormatUint(i.seq, 10)
}

func (i id) compare(j id) int {
	return cmp.Or(cmp.Compare(i.ms, j.ms), cmp.Compare(i.seq, j.seq))
}

// next returns the ID of a message published at time ms. It is greater than i
// even if the clock has gone back.
func (i id) next(ms uint64) id {
	if ms > i.ms {
		return id{ms, 0}
	}
	return id{i.ms, i.seq + 1}
}
