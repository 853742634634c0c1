package doctor

// The checks, in the order in which they are reported. Their numbers are those of
// the checklist in docs/backends.md.
const (
	checkHandshake = 1 + iota
	checkPing
	checkClose
	checkReattach
	checkAgain
	checkCompression
	checkNotice
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

// checklist has the name of each check and the anchor of its section in the
// document, as Markdown derives it from the heading.
var checklist = [checks]struct{ name, anchor string }{
	checkHandshake:   {"handshake", "1-it-answers-the-handshake"},
	checkPing:        {"ping", "2-it-answers-pings"},
	checkClose:       {"close", "3-it-answers-a-close-and-closes-the-connection"},
	checkReattach:    {"reattach", "4-it-takes-over-sessions"},
	checkAgain:       {"again", "5-it-answers-the-second-handshake-like-the-first"},
	checkCompression: {"compression", "6-it-compresses-each-message-separately"},
	checkNotice:      {"notice", "7-it-finishes-its-work-before-a-session-leaves"},
	checkHealth:      {"health", "8-it-answers-health-checks"},
	checkIdle:        {"idle", "9-it-keeps-idle-sessions-open"},
	checkDrainHealth: {"drain-health", "10-after-sigterm-it-reports-503-first"},
	checkDrainNotice: {"drain-notice", "11-it-continues-until-the-balancer-knows"},
	checkDrainClose:  {"drain-close", "12-it-closes-every-session"},
	checkDrainSpread: {"drain-spread", "13-it-spreads-the-closes"},
	checkDrainRefuse: {"drain-refuse", "14-it-refuses-sessions-while-it-closes-them"},
	checkDrainExit:   {"drain-exit", "15-it-exits"},
}

// Result is the outcome of a check. Its values are those of the output.
type Result string

const (
	OK      Result = "ok"
	Fix     Result = "fix"     // the server must be fixed
	Skipped Result = "skipped" // not requested, or impossible after the result of an earlier check
)

// CheckResult is the result of a check.
type CheckResult struct {
	Number int    `json:"number"` // in the checklist of docs/backends.md
	Check  string `json:"check"`
	Result Result `json:"result"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // how to fix it, if Result is Fix
	See    string `json:"see"`
}

// finding is a CheckResult without the fields from the checklist.
type finding struct {
	result        Result
	found, advice string
}

func ok(found string) finding          { return finding{result: OK, found: found} }
func fix(found, advice string) finding { return finding{Fix, found, advice} }
func skipped(why string) finding       { return finding{result: Skipped, found: why} }

func (f finding) resultOf(check int) CheckResult {
	entry := checklist[check]
	return CheckResult{Number: check, Check: entry.name, Result: f.result, Found: f.found, Advice: f.advice, See: document + "#" + entry.anchor}
}
