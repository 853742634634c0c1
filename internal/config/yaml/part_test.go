package yaml

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
)

func refuseFiles(_ config.Path, k *config.Key) string {
	switch {
	case k.IsPath():
		return "a file can't be named here"
	case k.Name == "backends":
		return "backends are found by themselves"
	}
	return ""
}

// readPart reads and checks a pool as a program does that gets one from somebody else.
func readPart(t testing.TB, text string) (config.Pool, config.Errors) {
	t.Helper()
	t.Setenv("HOLDFAST_TEST_SECRET", "of the environment")
	p := config.NewPool("chat")
	f, err := Part{Path: "pools.chat", Refuse: refuseFiles}.Read([]byte(text), "a mapping of settings", &p)
	if err != nil {
		return p, err.(config.Errors)
	}
	v := config.NewValidator(f, &f.Report)
	v.Pool(&p)
	return p, f.Report.Errors()
}

func TestPart(t *testing.T) {
	p, errs := readPart(t, `{"drain":{"timeout":"30s"},"reattach":{"on":["drain"]},"retry_on":[502,"503-504"]}`)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if p.Drain.Timeout.String() != "30s" || p.Drain.Spread.String() != "30s" || p.Reattach == nil || p.Reattach.Loss || len(p.RetryOn) != 2 || p.Balance != "least_conn" {
		t.Errorf("got %+v", p)
	}
}

func TestPartErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`drian: {}`, `pools.chat: unknown key "drian" (did you mean "drain"?)`},
		{`drain: {timeout: 1y}`, `pools.chat.drain.timeout: `},
		{`drain: {timeout: 10s, spread: 20s}`, `pools.chat.drain.spread: the spread of 20s must not be longer`},
		{`backends: []`, `pools.chat.backends: backends are found by themselves`},
		{`tls: {ca: /etc/passwd}`, `pools.chat.tls.ca: a file can't be named here`},
		{`file: /etc/passwd`, `pools.chat.file: a file can't be named here`},
		{`affinity: {cookie: {secret: "${HOLDFAST_TEST_SECRET}"}}`, `pools.chat.affinity.cookie.secret: "${HOLDFAST_TEST_SECRET}" can't be used here`},
		{`affinity: {cookie: {secret: "${file:/etc/passwd}"}}`, `pools.chat.affinity.cookie.secret: "${file:/etc/passwd}" can't be used here`},
		{`drain: {reason: "${HOME:-x}"}`, `pools.chat.drain.reason: "${HOME:-x}" can't be used here`},
		{`health: {tcp: "${HOLDFAST_TEST_SECRET}"}`, `pools.chat.health.tcp: "${HOLDFAST_TEST_SECRET}" can't be used here`},
		{`7`, `pools.chat: expected a mapping of settings, got the number 7`},
		{`{`, `not YAML: `},
		{``, `the file is empty`},
		{"drain: {}\n---\n{}", `a second document begins here`},
	} {
		_, errs := readPart(t, c.text)
		if len(errs) != 1 || !strings.HasPrefix(errs.Error(), c.want) {
			t.Errorf("%s: got\n%v\nwant\n%s", c.text, errs, c.want)
		}
		if strings.Contains(errs.Error(), "of the environment") || strings.Contains(errs.Error(), "root:") {
			t.Errorf("%s: the error says what the variable stands for: %v", c.text, errs)
		}
	}
}

// TestPartKeepsEscapedVariables: what stands for itself in a file does so here.
func TestPartKeepsEscapedVariables(t *testing.T) {
	p, errs := readPart(t, `drain: {reason: "$${HOME} ${file}"}`)
	if len(errs) > 0 || p.Drain.Reason != "${HOME} ${file}" {
		t.Errorf("got %q, %v", p.Drain.Reason, errs)
	}
}
