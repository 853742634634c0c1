package admission

// FromDescriptors derives limits from how many descriptors the process may
// have (RLIMIT_NOFILE). A session holds two: the client's and the backend's.
// A sixteenth, but no fewer than 64 and no more than 1,024, is kept for
// listeners, event loops, logs, connections that are being told no, and idle
// connections to plain HTTP backends.
func FromDescriptors(nofile int) Options {
	reserve := min(max(nofile/16, 64), 1024)
	sessions := min(max((nofile-reserve)/2, 1), mostSessions)
	return Options{MaxSessions: sessions, MaxHandshakes: defaultHandshakes(sessions)}
}

func defaultHandshakes(sessions int) int { return min(sessions, 8192) }
