package requestid

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

const (
	parent   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ownID    = "0123456789ABCDEFGHIJ"
	ownTrace = "d41d8cd90102030405060708090a0b0c" // its end
)

var seed = [seedSize]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// fieldsOf parses lines.
func fieldsOf(lines ...string) (fields httphead.Fields) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		fields = append(fields, httphead.Field{Name: []byte(name), Value: []byte(value)})
	}
	return fields
}

// sent is what a backend gets of fields: as lines, and through net/http.
func sent(t *testing.T, p Policy, in httphead.Fields, trusted bool) (d *IDs, out string) {
	t.Helper()
	d = new(IDs)
	d.Set(p, in, trusted, seed, []byte(ownID))
	header, want := http.Header{}, http.Header{}
	for _, f := range in {
		header.Add(string(f.Name), string(f.Value))
		if !d.Replaces(f.Name) {
			out += string(f.Name) + ": " + string(f.Value) + "\r\n"
		}
	}
	out += string(d.Append(nil))
	var other IDs
	other.SetFrom(p, header, trusted, seed, []byte(ownID))
	other.Edit(header)
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
		want.Add(name, value)
	}
	if !maps.EqualFunc(header, want, slices.Equal) {
		t.Errorf("net/http's header became\n%v\nand the lines\n%v", header, want)
	}
	return d, out
}

func TestRequestID(t *testing.T) {
	const mine = "X-Request-ID: " + ownID + "\r\n"
	for _, tt := range []struct {
		name    string
		trusted bool
		came    []string
		want    string
	}{
		{"none", false, []string{"A: 1"}, "A: 1\r\n" + mine},
		{"of a stranger", false, []string{"X-Request-ID: abc", "x_request_id: abc"}, mine},
		{"of a proxy", true, []string{"x-request-id: 7b3f-a/b+c=.1:2@~_"}, "X-Request-ID: 7b3f-a/b+c=.1:2@~_\r\n"},
		{"none of a proxy", true, nil, mine},
		{"two of a proxy", true, []string{"X-Request-ID: a", "X-Request-ID: b"}, mine},
		{"an empty one", true, []string{"X-Request-ID: "}, mine},
		{"one with a space", true, []string{"X-Request-ID: a b"}, mine},
		{"one with a quote", true, []string{`X-Request-ID: a"b`}, mine},
		{"one with other letters", true, []string{"X-Request-ID: é"}, mine},
		{"one that is too long", true, []string{"X-Request-ID: " + strings.Repeat("a", maxID+1)}, mine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, got := sent(t, Policy{RequestID: true}, fieldsOf(tt.came...), tt.trusted)
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if want, _ := strings.CutPrefix(got[strings.Index(got, "X-Request"):], "X-Request-ID: "); string(d.Request())+"\r\n" != want {
				t.Errorf("the id is %q", d.Request())
			}
			if !d.ReplacesInAnswer([]byte("x-request-ID")) || string(d.AppendToAnswer(nil)) != "X-Request-ID: "+string(d.Request())+"\r\n" {
				t.Errorf("an answer gets %q", d.AppendToAnswer(nil))
			}
		})
	}
}

func TestTraceContext(t *testing.T) {
	for _, tt := range []struct {
		name string
		came []string
		keep bool
	}{
		{"none", []string{"tracestate: a=b"}, false},
		{"one", []string{"traceparent: " + parent, "tracestate: a=b"}, true},
		{"not sampled", []string{"Traceparent: " + strings.TrimSuffix(parent, "1") + "0"}, true},
		{"flags that aren't known", []string{"traceparent: " + strings.TrimSuffix(parent, "01") + "ff"}, true},
		{"two", []string{"traceparent: " + parent, "traceparent: " + parent}, false},
		{"upper case", []string{"traceparent: " + strings.ToUpper(parent), "Tracestate: a=b"}, false},
		{"too short", []string{"traceparent: " + parent[:54]}, false},
		{"too long for version 00", []string{"traceparent: " + parent + "-x"}, false},
		{"a later version", []string{"traceparent: cc" + parent[2:] + "-what-comes"}, true},
		{"a later version, run on", []string{"traceparent: cc" + parent[2:] + "0"}, false},
		{"version ff", []string{"traceparent: ff" + parent[2:]}, false},
		{"no trace", []string{"traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01"}, false},
		{"no parent", []string{"traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"}, false},
		{"not hexadecimal", []string{"traceparent: 00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01"}, false},
		{"other separators", []string{"traceparent: " + strings.ReplaceAll(parent, "-", "_")}, false},
		{"empty", []string{"traceparent: "}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := fieldsOf(tt.came...)
			d, got := sent(t, Policy{TraceContext: true}, in, false)
			if tt.keep {
				if want := strings.Join(tt.came, "\r\n") + "\r\n"; got != want || string(d.Trace()) != parent[3:35] {
					t.Errorf("got\n%s\nwant\n%s; trace %s", got, want, d.Trace())
				}
				return
			}
			value, _ := strings.CutPrefix(strings.TrimSuffix(got, "\r\n"), "traceparent: ")
			if string(traceOf([]byte(value))) != string(d.Trace()) || !strings.HasSuffix(string(d.Trace()), ownTrace[8:]) || !strings.HasSuffix(value, "-01") {
				t.Errorf("got %q, trace %s", got, d.Trace())
			}
			if _, again := sent(t, Policy{TraceContext: true}, in, true); again != got {
				t.Errorf("another backend gets %q, the first one %q", again, got)
			}
		})
	}
}

// TestOff: without a policy everything passes, and nothing is known.
func TestOff(t *testing.T) {
	came := []string{"X-Request-ID: a b", "traceparent: x", "tracestate: y"}
	d, got := sent(t, Policy{}, fieldsOf(came...), false)
	if want := strings.Join(came, "\r\n") + "\r\n"; got != want || d.Request() != nil || d.Trace() != nil || d.ReplacesInAnswer([]byte("X-Request-ID")) {
		t.Errorf("got %q, %q, %q", got, d.Request(), d.Trace())
	}
}

func TestSetDoesNotAllocate(t *testing.T) {
	var d IDs
	in := fieldsOf("A: b", "X-Request-ID: x", "tracestate: y")
	dst := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		d.Set(Policy{RequestID: true, TraceContext: true}, in, false, seed, []byte(ownID))
		dst = d.Append(dst[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzTraceparent: what is accepted has the form of the standard, and a trace id that is
// safe in a log.
func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{parent, parent + "-x", "cc" + parent[2:] + "-x", "ff" + parent[2:], "", "00-"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		trace := traceOf(value)
		if trace == nil {
			return
		}
		parts := strings.SplitN(string(value), "-", 5)
		if len(parts) < 4 || len(parts[0]) != 2 || parts[1] != string(trace) || len(trace) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 ||
			strings.Trim(parts[0]+parts[1]+parts[2]+parts[3], "0123456789abcdef") != "" || strings.Trim(parts[1], "0") == "" {
			t.Errorf("accepted %q with trace %q", value, trace)
		}
	})
}
