package conformance

import "github.com/holdfast-ws/holdfast/internal/tool/doctor"

// The checks, in the order in which they are reported. Their numbers are those of
// docs/conformance.md.
const (
	checkConnect = 1 + iota
	checkApplication
	checkDrain
	checkRebalance
	checkLoss
	checkKill
	checkState
	checkLost
	checkDoubled
	checkOrder
	checkAcks
	checkGap
	checks
)

const document = "docs/conformance.md"

// checklist has the name of each check and the anchor of its section in the document.
var checklist = [checks]struct{ name, anchor string }{
	checkConnect:     {"connect", "1-clients-connect"},
	checkApplication: {"application", "2-it-has-the-test-application"},
	checkDrain:       {"drain", "3-sessions-survive-a-drain"},
	checkRebalance:   {"rebalance", "4-sessions-survive-a-rebalance"},
	checkLoss:        {"loss", "5-sessions-survive-a-lost-connection"},
	checkKill:        {"kill", "6-sessions-survive-a-killed-server"},
	checkState:       {"state", "7-the-new-server-has-the-state"},
	checkLost:        {"lost", "8-no-message-is-lost"},
	checkDoubled:     {"doubled", "9-no-message-comes-twice"},
	checkOrder:       {"order", "10-messages-stay-in-order"},
	checkAcks:        {"acks", "11-every-message-is-answered"},
	checkGap:         {"gap", "12-clients-dont-wait-long"},
}

// finding is a doctor.CheckResult without the fields from the checklist.
type finding struct {
	result        doctor.Result
	found, advice string
}

func ok(found string) finding          { return finding{result: doctor.OK, found: found} }
func fix(found, advice string) finding { return finding{doctor.Fix, found, advice} }
func skipped(why string) finding       { return finding{result: doctor.Skipped, found: why} }

// record reports the result of a check.
func (t *test) record(check int, f finding) {
	entry := checklist[check]
	r := doctor.CheckResult{Number: check, Check: entry.name, Result: f.result, Found: f.found, Advice: f.advice, See: document + "#" + entry.anchor}
	t.report.Checks = append(t.report.Checks, r)
	if r.Result == doctor.Fix {
		t.report.ToFix++
	}
	if t.o.Each != nil {
		t.o.Each(r)
	}
}

// failed reports a check without which the others are impossible.
func (t *test) failed(check int, f finding) {
	for i := checkConnect; i < checks; i++ {
		switch {
		case i < check:
			t.record(i, ok(t.connected()))
		case i == check:
			t.record(i, f)
		default:
			t.record(i, skipped("the test needs "+checklist[check].name))
		}
	}
}
