//go:build !linux

package activation

// FromEnvironment returns nil: systemd is on Linux only.
func FromEnvironment() (*Sockets, error) { return nil, nil }
