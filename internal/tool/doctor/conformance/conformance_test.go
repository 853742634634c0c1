package conformance

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor"
)

// balance starts a balancer as the command line does.
func balance(text string, log io.Writer) (Balancer, error) {
	return app.Start(app.Options{Load: func() (*config.Config, error) { return yaml.Parse("doctor", []byte(text)) }, LogTo: log})
}

func optionsFor(urls []string) Options {
	return Options{URLs: urls, Protocol: "text", Sessions: 4, Timeout: testkit.Patience, MaxGap: testkit.Patience, Balance: balance, calm: 500 * time.Millisecond, oldState: time.Second}
}

func text(r *doctor.Report) (text string) {
	for _, c := range r.Checks {
		text += fmt.Sprintf("%+v\n", c)
	}
	return text
}

func toFix(r *doctor.Report) (names []string) {
	for _, c := range r.Checks {
		if c.Result == doctor.Fix {
			names = append(names, c.Check)
		}
	}
	return names
}

// Each defect is found by its check.
func TestDefects(t *testing.T) {
	table := []struct {
		defect string
		toFix  string // names of checks; one with a ? depends on when a rebalance happens
		found  string // part of Found of the first of them
		// waits says that something never comes, and isn't waited for for long. So a busy
		// machine may have more to fix.
		waits bool
	}{
		{"", "", "", false},
		{noAnswers, "application", "a client didn't get answers to its messages", true},
		{noEvents, "application", "a client didn't get events", true},
		{noConfirms, "application", "a client didn't get confirmations of its acks", true},
		{refusesDrain + " + " + refusesLoss, "drain loss", "refused", true},
		{refusesEven, "rebalance", "no session was moved", true},
		{closes4000, "drain rebalance loss?", "a Close with 4000", false},
		{closesSoon, "drain rebalance loss", "a Close with 1008", false},
		{startsAnew, "state", "in phase drain", false},
		{inMemory, "state", "in phase loss", false},
		{losesOne + " + " + swapsEvents, "lost order acks", "the server got message", true},
		{skipsEvent + " + " + answersTwice, "lost doubled", "event", false},
		{repeatsEvent + " + " + dropsConfirms, "doubled acks", "twice", true},
		{dropsPending, "acks", "was not answered", true},
		{slowMoves, "gap", "the longest silence of a server was", false},
	}
	reports := make([]*doctor.Report, len(table))
	var examining sync.WaitGroup // all at once, since they mostly wait
	for i, c := range table {
		o := optionsFor(serveAll(t, 2, strings.Split(c.defect, " + ")...))
		if c.waits {
			o.patience = 3 * time.Second
		}
		if c.defect == slowMoves {
			o.MaxGap = slowMove * 2 / 3
		}
		examining.Go(func() {
			var err error
			if reports[i], err = Examine(t.Context(), o); err != nil {
				t.Errorf("%s: %v", c.defect, err)
			}
		})
	}
	if examining.Wait(); t.Failed() {
		return
	}
	for i, c := range table {
		r := reports[i]
		got := toFix(r)
		var want []string
		for _, name := range strings.Fields(c.toFix) {
			name, perhaps := strings.CutSuffix(name, "?")
			if !perhaps || slices.Contains(got, name) {
				want = append(want, name)
			}
		}
		if c.waits {
			got = slices.DeleteFunc(got, func(name string) bool { return !slices.Contains(want, name) })
		}
		if !slices.Equal(got, want) || r.ToFix != len(toFix(r)) {
			t.Errorf("%s: to fix %v, want %v\n%s", c.defect, got, want, text(r))
		}
		for n, check := range r.Checks {
			if check.Number != n+1 || check.Found == "" || (check.Advice != "") != (check.Result == doctor.Fix) {
				t.Errorf("%s: result %d is %+v", c.defect, n, check)
			}
			if len(got) > 0 && check.Check == got[0] && !strings.Contains(check.Found, c.found) {
				t.Errorf("%s: %s found %q, want %q", c.defect, check.Check, check.Found, c.found)
			}
		}
	}
}

// Sessions of servers with TLS are moved like others. Certificates of a private authority
// need CA or Insecure.
func TestTLS(t *testing.T) {
	ca := testca.New(t)
	config := func(name string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{ca.Issue(name).TLS}}
	}
	mutual := config("127.0.0.1")
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	cert, key := ca.Issue("doctor").Files()
	var examining sync.WaitGroup
	for _, c := range []struct {
		name   string
		config *tls.Config
		o      Options
		fails  bool
	}{
		{"trusted", mutual, Options{CA: ca.File(), Cert: cert, Key: key}, false},
		{"named", config("chat.internal"), Options{CA: ca.File(), ServerName: "chat.internal"}, false},
		{"not verified", config("chat.internal"), Options{Insecure: true}, false},
		{"unknown authority", config("127.0.0.1"), Options{}, true},
	} {
		o := optionsFor(serveTLS(t, 2, c.config))
		o.Insecure, o.CA, o.ServerName, o.Cert, o.Key = c.o.Insecure, c.o.CA, c.o.ServerName, c.o.Cert, c.o.Key
		examining.Go(func() {
			r, err := Examine(t.Context(), o)
			switch {
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case !c.fails && r.ToFix > 0:
				t.Errorf("%s: %s", c.name, text(r))
			case c.fails && !strings.Contains(r.Checks[0].Found, "502"):
				t.Errorf("%s: %s", c.name, text(r))
			}
		})
	}
	examining.Wait()
}

// The document has a section for each check, with the same number.
func TestDocumentHasTheChecklist(t *testing.T) {
	text, err := os.ReadFile("../../../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	var anchors, want []string
	for _, m := range regexp.MustCompile(`(?m)^### (\d+\. .*)$`).FindAllStringSubmatch(string(text), -1) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	for check := checkConnect; check < checks; check++ {
		want = append(want, checklist[check].anchor)
	}
	if !slices.Equal(anchors, want) {
		t.Errorf("the document has %q, want %q", anchors, want)
	}
}

func TestOptions(t *testing.T) {
	two := []string{"ws://a", "ws://b"}
	secure := []string{"wss://a.example.com:1/x", "wss://a.example.com:2/x"}
	for want, o := range map[string]Options{
		`"" is not a protocol`:        {URLs: two},
		`"smtp" is not a protocol`:    {URLs: two, Protocol: "smtp"},
		"two or more servers":         {URLs: two[:1], Protocol: "text"},
		"must begin with ws://":       {URLs: []string{"ws://a", "http://b"}, Protocol: "text"},
		"a is given twice":            {URLs: []string{"ws://a", "ws://a/x"}, Protocol: "text"},
		"the same scheme and path":    {URLs: []string{"ws://a", "ws://b/x"}, Protocol: "text"},
		"the same scheme and path:":   {URLs: []string{"ws://a", "wss://b"}, Protocol: "text", Insecure: true},
		"with --server-name":          {URLs: []string{"wss://a", "wss://b"}, Protocol: "text"},
		"are for wss://":              {URLs: two, Protocol: "text", Insecure: true},
		"must be 2 to 1000":           {URLs: two, Protocol: "text", Sessions: 1},
		"can't be negative":           {URLs: two, Protocol: "text", MaxGap: -1},
		"--auth is for":               {URLs: two, Protocol: "text", Auth: "{}"},
		"must be a JSON object":       {URLs: two, Protocol: "socketio", Auth: "[]"},
		"must be a JSON object, such": {URLs: two, Protocol: "socketio", Auth: "{"},
		"give both":                   {URLs: two, Protocol: "text", Start: "true"},
		"--ca: open /nowhere":         {URLs: secure, Protocol: "text", CA: "/nowhere"},
		"are one certificate":         {URLs: secure, Protocol: "text", Cert: "c.pem"},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, ":")) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	cert, key := testca.New(t).Issue("doctor").Files()
	o := Options{URLs: secure, Protocol: "text", Cert: cert, Key: key}
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	if a := addressOf(o.servers[1]); a != "a.example.com:2" {
		t.Error(a)
	}
}
