package overload

import "fmt"

// fewSessions: an allowance below this is hardly intended.
const fewSessions = 1000

// Shortage says why the process can't have maxSessions sessions (0 means the
// derived limit), if it may not open enough files; otherwise it returns "".
func Shortage(maxSessions int) string { return shortage(descriptorLimit(), maxSessions) }

func shortage(nofile, maxSessions int) string {
	const remedy = "raise it with ulimit -n, or with LimitNOFILE= for a service of systemd"
	allowed := FromDescriptors(nofile).MaxSessions
	switch {
	case maxSessions > allowed:
		return fmt.Sprintf("limits.max_sessions is %d, but the limit of open files, %d, is enough for %d sessions: %s", maxSessions, nofile, allowed, remedy)
	case maxSessions <= 0 && allowed < fewSessions:
		sessions := fmt.Sprintf("%d sessions", allowed)
		if allowed == 1 {
			sessions = "1 session"
		}
		return fmt.Sprintf("the limit of open files is %d, which allows %s: %s", nofile, sessions, remedy)
	}
	return ""
}

// Within returns maxSessions, but at most as many sessions as the process may open
// files for. Above that, new clients would not be refused but wait in the kernel, and
// nothing else could be opened either. 0 stays 0, the derived limit.
func Within(maxSessions int) int {
	return min(maxSessions, FromDescriptors(descriptorLimit()).MaxSessions)
}

// Spare is a part of the reserve, see FromDescriptors: how many connections may be
// kept for a moment that were refused, so that their answer arrives, and how many to
// backends of plain HTTP while no request needs them.
func Spare() int { return spare(descriptorLimit()) }

func spare(nofile int) int { return reserve(nofile) / 4 }

func reserve(nofile int) int { return min(max(nofile/16, 64), 1024) }

// FromDescriptors derives limits from the number of descriptors that the process
// may have (RLIMIT_NOFILE). A session takes two: the client's and the backend's.
// A sixteenth, at least 64 and at most 1,024, is reserved for listeners, event
// loops, logs, connections that are being refused, and idle connections to plain
// HTTP backends.
func FromDescriptors(nofile int) Options {
	sessions := min(max((nofile-reserve(nofile))/2, 1), mostSessions)
	return Options{MaxSessions: sessions, MaxHandshakes: defaultHandshakes(sessions)}
}

func defaultHandshakes(sessions int) int { return min(sessions, 8192) }
