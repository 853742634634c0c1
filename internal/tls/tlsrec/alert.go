package tlsrec

import (
	"fmt"
	"strings"
)

// Descriptions of alerts, RFC 8446 §6.
const (
	AlertCloseNotify       = 0
	AlertUnexpectedMessage = 10
	AlertBadRecordMAC      = 20
	AlertRecordOverflow    = 22
	AlertIllegalParameter  = 47
	AlertDecodeError       = 50
	AlertProtocolVersion   = 70
	AlertInternalError     = 80
	AlertUserCanceled      = 90
	AlertNoRenegotiation   = 100
)

// Levels of alerts. TLS 1.3 ignores them.
const (
	levelWarning = 1
	levelFatal   = 2
)

var alertNames = map[uint8]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac",
	21: "decryption_failed", 22: "record_overflow", 30: "decompression_failure",
	40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate",
	43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter",
	48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
	60: "export_restriction", 70: "protocol_version", 71: "insufficient_security",
	80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled",
	100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension",
	111: "certificate_unobtainable", 112: "unrecognized_name",
	113: "bad_certificate_status_response", 114: "bad_certificate_hash_value",
	115: "unknown_psk_identity", 116: "certificate_required",
	120: "no_application_protocol", 121: "ech_required",
}

// AlertName returns the name that the RFCs give an alert, such as "bad_record_mac",
// or its number if it has none.
func AlertName(description uint8) string {
	if name, ok := alertNames[description]; ok {
		return name
	}
	return fmt.Sprintf("alert %d", description)
}

// Error returns the reason with the name of the alert.
func (e *Error) Error() string {
	if e.FromPeer {
		return "tls: the peer has sent the alert " + strings.TrimPrefix(AlertName(e.Alert), "alert ")
	}
	return "tls: " + e.Reason + " (" + AlertName(e.Alert) + ")"
}

// alert acts on an alert of the peer: nil if it is to be ignored.
func alert(content []byte, tls13 bool) error {
	if len(content) != 2 {
		// RFC 8446 §5.1: an alert is never in two records, nor two in one.
		return &Error{Alert: AlertDecodeError, Reason: fmt.Sprintf("an alert of %d bytes", len(content))}
	}
	level, description := content[0], content[1]
	switch {
	case description == AlertCloseNotify:
		return ErrClosed
	case tls13 && description == AlertUserCanceled:
		// RFC 8446 §6.1: a close_notify follows.
		return nil
	case !tls13 && level == levelWarning:
		return nil
	case !tls13 && level != levelFatal:
		return &Error{Alert: AlertIllegalParameter, Reason: fmt.Sprintf("an alert of level %d", level)}
	}
	return &Error{Alert: description, FromPeer: true, Reason: AlertName(description)}
}
