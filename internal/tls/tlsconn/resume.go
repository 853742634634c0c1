package tlsconn

import (
	"bytes"
	"crypto/tls"
)

// In TLS 1.2 crypto/tls logs the master secret in a full handshake only. For one that
// is resumed it is kept with the session, in SessionState.Extra, which is meant for
// such things. A server's session is in a ticket that is encrypted, and has the secret
// anyway.

// masterPrefix marks the master secret among what others put there.
const masterPrefix = "holdfast tls 1.2 master secret "

// keepMaster puts the master secret into a session.
func (h *handshake) keepMaster(s *tls.SessionState) {
	if h.master.n > 0 && h.clientTraffic.n == 0 {
		s.Extra = append(s.Extra, append([]byte(masterPrefix), h.master.bytes()...))
	}
}

// findMaster takes the master secret from a session. It reports false if there is
// none.
func (h *handshake) findMaster(s *tls.SessionState) bool {
	for _, extra := range s.Extra {
		if master, ok := bytes.CutPrefix(extra, []byte(masterPrefix)); ok {
			h.master.set(master)
			return true
		}
	}
	return false
}

// wrapSession makes the ticket of a session, for a server.
func (h *handshake) wrapSession(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
	h.keepMaster(s)
	return h.of.base.WrapSession(cs, s)
}

// unwrapSession returns the session of a ticket. If it is nil, the handshake is a
// full one.
func (h *handshake) unwrapSession(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	s, err := h.of.base.UnwrapSession(ticket, cs)
	if err == nil && s != nil && !h.findMaster(s) && cs.Version == tls.VersionTLS12 {
		return nil, nil
	}
	return s, err
}

// key is that of the sessions of the server at h.addr. Servers with the same name
// needn't know each other's.
func (h *handshake) key(name string) string { return h.addr + " " + name }

// Get is part of tls.ClientSessionCache.
func (h *handshake) Get(name string) (*tls.ClientSessionState, bool) {
	session, ok := h.of.base.ClientSessionCache.Get(h.key(name))
	if ok {
		if _, s, err := session.ResumptionState(); err == nil && s != nil {
			h.findMaster(s)
		}
	}
	return session, ok
}

// Put is part of tls.ClientSessionCache.
func (h *handshake) Put(name string, session *tls.ClientSessionState) {
	if session != nil {
		if _, s, err := session.ResumptionState(); err == nil && s != nil {
			h.keepMaster(s)
		}
	}
	h.of.base.ClientSessionCache.Put(h.key(name), session)
}
