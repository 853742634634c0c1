//go:build linux

package switching

import (
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

var (
	// keyed are groups in which the same request goes to the same server.
	keyed = regexp.MustCompile(`(?m)^\s*(hash\s|ip_hash|balance\s+(source|uri)|stick\s)`)
	// uneven are groups of which an idle balancer may prefer one server.
	uneven = regexp.MustCompile(`\b(weight|least_conn|leastconn|random|first)\b`)
)

// differential runs a file with the real server and with holdfast, or with holdfast the
// file that it has written.
func differential(t *testing.T, f *facts, requests []request, written bool) *tally {
	m := prepare(t, f)
	counted := &tally{}
	theirs := m.play(t, m.theirs(t), requests)
	var accept []string
	if len(f.Hints["loss"]) > 0 {
		accept = []string{"--accept-loss"}
	}
	report, ok := m.report(t, accept...)
	if !ok {
		counted.Refused = report
		return counted
	}
	run := append([]string{"-c", m.path}, accept...)
	if written {
		run = []string{"-c", writtenPath}
	}
	ours := m.play(t, m.ours(t, run...), requests)
	for i, r := range requests {
		counted.check(f, differences(report), r, theirs[i], ours[i])
	}
	m.checkServers(counted, requests, theirs, ours)
	if len(counted.Silent) > 0 {
		counted.Silent = append(counted.Silent, "the report:\n"+report)
	}
	return counted
}

// differences returns the lines of a report about what is different.
func differences(report string) string {
	var b strings.Builder
	for line := range strings.Lines(report) {
		if strings.Contains(line, ": different: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// checkServers checks which servers of a group were chosen, over all requests. If the group
// takes turns, and theirs were several, ours are, too. If it goes by a key, and theirs was
// the same for all requests that are equal, ours is.
func (m *machine) checkServers(counted *tally, requests []request, theirs, ours []result) {
	type use struct{ theirs, ours map[string]bool }
	chosen := func(r result) string {
		if len(r.Seen) != 1 {
			return ""
		}
		return r.Seen[0].Backend
	}
	uses, times, byKey := map[string]use{}, map[string]int{}, map[string]bool{}
	for i, r := range requests {
		if chosen(theirs[i]) == "" || chosen(ours[i]) == "" {
			continue
		}
		for _, group := range m.groups(chosen(theirs[i])) {
			key := group
			if keyed.MatchString(m.Bodies[group]) {
				key = fmt.Sprint(group, " for ", r)
				byKey[key] = true
			} else if uneven.MatchString(m.Bodies[group]) {
				continue
			}
			if times[key]++; times[key] == 1 {
				uses[key] = use{map[string]bool{}, map[string]bool{}}
			}
			uses[key].theirs[chosen(theirs[i])], uses[key].ours[chosen(ours[i])] = true, true
		}
	}
	for key, u := range uses {
		if times[key] >= 4 && (byKey[key] && len(u.theirs) == 1 && len(u.ours) > 1 || !byKey[key] && len(u.theirs) > 1 && len(u.ours) == 1) {
			counted.Silent = append(counted.Silent, fmt.Sprintf("%s: theirs used %v, ours %v", key, u.theirs, u.ours))
		}
	}
}

// send sends a request, and others with the cookies that come back.
func (m *machine) send(r request, i int) result {
	if r.Listener.TLS && i%3 == 0 {
		r.Certificate = m.client
	}
	res := send(r, fmt.Sprint(i), m.recorder)
	if len(res.Value) == 0 || len(res.Seen) != 1 || strings.Contains(strings.Join(r.Header, "\n"), answerHeader) {
		return res
	}
	cookies := append(r.values("Cookie"), res.Value...)
	r.Header = append(without(slices.Clone(r.Header), "Cookie"), "Cookie: "+strings.Join(cookies, "; "))
	res.Sticks = true
	for range 3 {
		again := send(r, fmt.Sprint(i), m.recorder)
		res.Sticks = res.Sticks && len(again.Seen) == 1 && again.Seen[0].Backend == res.Seen[0].Backend
	}
	return res
}

// files returns the files of a folder, by name.
func files(t *testing.T, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %v", pattern, paths, err)
	}
	all := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = string(text)
	}
	return all
}

// batch is a number of files in one format.
type batch struct {
	format    string
	texts     map[string]string // by name
	requests  int               // for each file
	pairs     int               // at least, for all
	refusable int               // how many files may be refused
}

// run runs all files as subtests, and checks their sum.
func (b batch) run(t *testing.T) {
	sum, refused, done := &tally{}, 0, make(chan *tally, len(b.texts))
	t.Run("files", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(b.texts)) {
			t.Run(name, func(t *testing.T) {
				counted := isolated(t, func(t *testing.T) *tally {
					f := read(b.format, b.texts[name])
					h := fnv.New64a()
					h.Write([]byte(name))
					return differential(t, f, f.requests(h.Sum64(), b.requests), h.Sum64()%3 == 0)
				})
				if inside() {
					return // the test outside says what is wrong
				}
				done <- counted
				if counted.Refused != "" && b.refusable == 0 {
					t.Errorf("the file is refused:\n%s", counted.Refused)
				}
				for _, s := range counted.Silent {
					t.Errorf("a difference that the report doesn't have: %s", s)
				}
				if t.Failed() {
					t.Logf("the file:\n%s", b.texts[name])
				}
			})
		}
	})
	if inside() {
		return
	}
	for range len(done) {
		counted := testkit.Receive(t, "a tally", done)
		sum.add(counted)
		if counted.Refused != "" {
			refused++
		}
	}
	t.Logf("%d files, %d of which are refused; %d pairs, %d of which came to a backend and %d were WebSockets; %d agreed, %d differed as the report says, and %d silently; kinds: %v",
		len(b.texts), refused, sum.Pairs, sum.Reached, sum.Upgraded, sum.Agreed, sum.Noted, len(sum.Silent), sum.Kinds)
	if refused > b.refusable {
		t.Errorf("%d files are refused, want %d at most", refused, b.refusable)
	}
	if sum.Pairs < b.pairs || sum.Reached < sum.Pairs/3 || sum.Upgraded < sum.Pairs/15 {
		t.Errorf("these files and requests test little: want %d pairs, a third with a backend, and some WebSockets", b.pairs)
	}
}

// TestNginx runs files in the style of real ones.
func TestNginx(t *testing.T) {
	batch{format: "nginx", texts: files(t, "testdata/nginx/*.conf"), requests: 50, pairs: 1000}.run(t)
}

// TestHAProxy runs files in the style of real ones.
func TestHAProxy(t *testing.T) {
	batch{format: "haproxy", texts: files(t, "testdata/haproxy/*.cfg"), requests: 50, pairs: 1000}.run(t)
}

// generated returns n generated files, by name.
func generated(n int, generate func(seed uint64) string) map[string]string {
	all := map[string]string{}
	for seed := range n {
		all[fmt.Sprintf("%03d", seed)] = generate(uint64(seed))
	}
	return all
}

// TestGeneratedNginx runs generated files.
func TestGeneratedNginx(t *testing.T) {
	batch{format: "nginx", texts: generated(60, generateNginx), requests: 40, pairs: 2000, refusable: 6}.run(t)
}

// TestGeneratedHAProxy runs generated files. They combine rules as nobody would, and some
// of that is refused.
func TestGeneratedHAProxy(t *testing.T) {
	batch{format: "haproxy", texts: generated(60, generateHAProxy), requests: 40, pairs: 2000, refusable: 9}.run(t)
}
