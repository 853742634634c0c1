package doctor

// The checks, in the order in which they are told. Their numbers are those of
// the checklist in docs/backends.md.
const (
	checkHandshake = 1 + iota
	checkPing
	checkClose
	checkReattach
	checkAgain
	checkCompression
	checkHealth
	checkIdle
	checkDrainHealth
	checkDrainNotice
	checkDrainClose
	checkDrainSpread
	checkDrainRefuse
	checkDrainExit
	checks
)

const document = "docs/backends.md"

// checklist has, for each check, its name and its section of the document, by
// the anchor that Markdown makes of its heading.
var checklist = [checks]struct{ name, anchor string }{
	checkHandshake:   {"handshake", "1-it-answers-the-handshake"},
	checkPing:        {"ping", "2-it-answers-pings"},
	checkClose:       {"close", "3-it-answers-a-close-and-hangs-up"},
	checkReattach:    {"reattach", "4-it-takes-a-session-over"},
	checkAgain:       {"again", "5-it-answers-the-second-handshake-as-the-first"},
	checkCompression: {"compression", "6-it-compresses-each-message-by-itself"},
	checkHealth:      {"health", "7-it-answers-health-checks"},
	checkIdle:        {"idle", "8-it-lets-sessions-be-idle"},
	checkDrainHealth: {"drain-health", "9-told-to-stop-it-says-so-first"},
	checkDrainNotice: {"drain-notice", "10-it-goes-on-until-the-balancer-knows"},
	checkDrainClose:  {"drain-close", "11-it-says-goodbye-to-every-session"},
	checkDrainSpread: {"drain-spread", "12-it-says-goodbye-over-a-while"},
	checkDrainRefuse: {"drain-refuse", "13-it-takes-no-new-sessions-then"},
	checkDrainExit:   {"drain-exit", "14-it-exits"},
}

// Result of a check.
type Result string

const (
	OK      Result = "ok"
	Mend    Result = "mend"    // something is to be mended
	Skipped Result = "skipped" // it was not asked for, or an earlier check left nothing to look at
)

// Line is what one check found.
type Line struct {
	Number int    `json:"number"` // in the checklist of docs/backends.md
	Check  string `json:"check"`
	Result Result `json:"result"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do, where something is to be mended
	See    string `json:"see"`
}

// finding is a Line before it has its place in the checklist.
type finding struct {
	result        Result
	found, advice string
}

func ok(found string) finding           { return finding{result: OK, found: found} }
func mend(found, advice string) finding { return finding{Mend, found, advice} }
func skipped(why string) finding        { return finding{result: Skipped, found: why} }

func (f finding) line(check int) Line {
	entry := checklist[check]
	return Line{Number: check, Check: entry.name, Result: f.result, Found: f.found, Advice: f.advice, See: document + "#" + entry.anchor}
}
