package doctor

// Defects of the test server.
const (
	wrongAccept      = "a wrong accept key"
	noUpgrade        = "no Upgrade in the 101"
	noConnection     = "no Connection in the 101"
	strangeProtocol  = "a subprotocol that was not offered"
	strangeExtension = "an extension that was not offered"
	noAnswer         = "no answer to the handshake"
	otherProtocol    = "another protocol"
	says401          = "401"
	says404          = "404"
	says426          = "426"
	says503          = "503"

	noPong      = "no pong"
	wrongPong   = "a pong with another payload"
	latePong    = "a late pong"
	masksFrames = "masked frames"

	ignoresClose    = "no answer to Close"
	cutsOnClose     = "a cut instead of an answer to Close"
	staysOpen       = "an open connection after Close"
	sendsAfterClose = "a message after Close"

	refusesMoved  = "404 for reattached sessions"
	failsMoved    = "500 for reattached sessions"
	closesOld     = "closes the old connection of a session"
	closesNew     = "ends the session with its first connection"
	secondChoice  = "another subprotocol in the second handshake"
	secondDeflate = "other compression in the second handshake"
	takesOver     = "context takeover"

	noHealth     = "no health path"
	alwaysDrains = "health is always 503"
	redirects    = "health redirects"
	strangeLoad  = "an invalid load"
	impatient    = "a short idle timeout"
	impatientCut = "a short idle timeout and no Close"

	never503            = "no 503 in a drain"
	late503             = "503 after the closes"
	noNotice            = "no notice"
	refusesInNotice     = "handshakes refused in the notice"
	stuckInNotice       = "no pongs in the notice"
	cutsInDrain         = "no Close in a drain"
	closes1000          = "1000 in a drain"
	closesAtOnce        = "all closed at once"
	acceptsWhileClosing = "handshakes taken while closing"
	staysUp             = "no exit"
	neverCloses         = "sessions that never end"
	ignoresTerm         = "SIGTERM ignored"
)
