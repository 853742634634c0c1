package clienthello

import "encoding/binary"

// parseMessage parses the body of a ClientHello.
func parseMessage(m []byte) (Hello, error) {
	const random = 32
	if len(m) < 2+random {
		return Hello{}, errCut
	}
	h := Hello{LegacyVersion: binary.BigEndian.Uint16(m)}
	_, rest, ok := cut8(m[2+random:]) // the session id
	suites, rest, ok2 := cut16(rest)
	_, rest, ok3 := cut8(rest) // the compression methods
	switch {
	case !ok || !ok2 || !ok3:
		return Hello{}, errCut
	case len(suites)%2 != 0:
		return Hello{}, errSuites
	case len(rest) == 0: // extensions are optional, RFC 5246 §7.4.1.2
		return h, nil
	}
	extensions, rest, ok := cut16(rest)
	switch {
	case !ok:
		return Hello{}, errCut
	case len(rest) > 0:
		return Hello{}, errRest
	}
	return h, h.parseExtensions(extensions)
}

func (h *Hello) parseExtensions(list []byte) error {
	var seen extensionSet
	for len(list) > 0 {
		if len(list) < 2 {
			return errCut
		}
		kind := binary.BigEndian.Uint16(list)
		data, rest, ok := cut16(list[2:])
		if !ok {
			return errCut
		}
		if !seen.add(kind) {
			return errTwice
		}
		var err error
		switch kind {
		case extServerName:
			h.ServerName, err = parseServerName(data)
		case extProtocols:
			h.protocols, err = parseProtocols(data)
		case extVersions:
			h.versions, err = parseVersions(data)
		}
		if err != nil {
			return err
		}
		list = rest
	}
	return nil
}

// extensionSet has a bit for each type. There are at most 16,000 extensions in
// a hello, so it must not be a list that is searched. It is 8 KiB on the stack.
type extensionSet [1 << 16 / 64]uint64

// add reports whether kind is new.
func (s *extensionSet) add(kind uint16) bool {
	word, bit := &s[kind/64], uint64(1)<<(kind%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// parseServerName parses RFC 6066 §3. Names of other types are skipped, none is
// defined.
func parseServerName(data []byte) (name []byte, err error) {
	list, rest, ok := cut16(data)
	if !ok || len(rest) > 0 || len(list) == 0 {
		return nil, errName
	}
	for len(list) > 0 {
		kind := list[0]
		entry, rest, ok := cut16(list[1:])
		switch {
		case !ok || len(entry) == 0:
			return nil, errName
		case kind != nameTypeHost:
		case name != nil:
			return nil, errNameTwice
		default:
			if err := checkName(entry); err != nil {
				return nil, err
			}
			name = entry
		}
		list = rest
	}
	return name, nil
}

func checkName(name []byte) error {
	if len(name) > maxName {
		return errNameLength
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return errNameByte
		}
	}
	if name[len(name)-1] == '.' {
		return errNameDot
	}
	return nil
}

func parseProtocols(data []byte) ([]byte, error) {
	list, rest, ok := cut16(data)
	if !ok || len(rest) > 0 || len(list) == 0 {
		return nil, errProtocols
	}
	for rest := list; len(rest) > 0; {
		var protocol []byte
		if protocol, rest, ok = cut8(rest); !ok || len(protocol) == 0 {
			return nil, errProtocols
		}
	}
	return list, nil
}

func parseVersions(data []byte) ([]byte, error) {
	list, rest, ok := cut8(data)
	if !ok || len(rest) > 0 || len(list) == 0 || len(list)%2 != 0 {
		return nil, errVersions
	}
	return list, nil
}

// cut8 cuts a vector with a length of one byte off the beginning of b.
func cut8(b []byte) (vector, rest []byte, ok bool) {
	if len(b) < 1 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	end := 1 + int(b[0])
	return b[1:end], b[end:], true
}

// cut16 cuts a vector with a length of two bytes off the beginning of b.
func cut16(b []byte) (vector, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:end], b[end:], true
}
