package nginx

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// parseTime reads a time as nginx does: numbers with units, such as 30s or 1h30m; a number
// without one is in seconds (ngx_parse.c).
func parseTime(s string) (time.Duration, error) {
	bad := fmt.Errorf("bad time %s: write for example 30s", hint.Quote(s))
	total, rest := time.Duration(0), s
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil {
			return 0, bad
		}
		rest = rest[digits:]
		unit := time.Second
		switch {
		case strings.HasPrefix(rest, "ms"):
			unit, rest = time.Millisecond, rest[2:]
		case rest != "" && rest[0] != ' ':
			units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour,
				'w': 7 * 24 * time.Hour, 'M': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}
			if unit = units[rest[0]]; unit == 0 {
				return 0, bad
			}
			rest = rest[1:]
		}
		if total += time.Duration(n) * unit; time.Duration(n) > maxTime/unit || total > maxTime {
			total = maxTime
		}
	}
	if s == "" {
		return 0, bad
	}
	return total, nil
}

// maxTime is the longest time of a Config, a year.
const maxTime = 365 * 24 * time.Hour

// parseSize reads a number of bytes as nginx does, with k, m or g.
func parseSize(s string) (int, error) {
	unit, digits := 1, s
	if s != "" {
		switch s[len(s)-1] | 0x20 {
		case 'k':
			unit, digits = 1<<10, s[:len(s)-1]
		case 'm':
			unit, digits = 1<<20, s[:len(s)-1]
		case 'g':
			unit, digits = 1<<30, s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 30)
	if err != nil {
		return 0, fmt.Errorf("bad size %s: write for example 8k", hint.Quote(s))
	}
	return int(n) * unit, nil
}

func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("bad number %s", hint.Quote(s))
	}
	return int(n), nil
}

// parseNetwork reads an address or a network. nginx ignores bits beyond the mask.
func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("bad network %s: want an address or a network, such as 10.0.0.0/8", hint.Quote(s))
	}
	return p.Masked(), nil
}

// file makes the path of a file absolute: nginx begins at the directory of the main file.
func (cv *converter) file(path string) (string, error) {
	switch {
	case strings.Contains(path, "$"):
		return "", errors.New("the name of a file can't have variables in it: list each certificate")
	case strings.HasPrefix(path, "data:"), strings.HasPrefix(path, "engine:"), strings.HasPrefix(path, "store:"):
		return "", errors.New("write it to a file, and give the file's path")
	case filepath.IsAbs(path):
		return path, nil
	}
	return filepath.Join(cv.dir, path), nil
}

// option is an argument such as weight=2; ok reports whether it has that name.
func option(arg, name string) (value string, ok bool) { return strings.CutPrefix(arg, name+"=") }
