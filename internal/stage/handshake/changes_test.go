package handshake

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
)

// fact is a Source whose variables all stand for itself.
type fact string

func (fact) ClientIP() netip.Addr              { return netip.Addr{} }
func (fact) Path() []byte                      { return nil }
func (fact) Query() []byte                     { return nil }
func (fact) Header(string, int) ([]byte, bool) { return nil, false }
func (fact) Claim(string) (string, bool)       { return "", false }
func (f fact) AppendFact(dst []byte, _ headeredit.Kind) []byte {
	return append(dst, f...)
}

// changes removes and sets fields in both directions.
func changes(t testing.TB) Changes {
	t.Helper()
	edits, err := headeredit.New(headeredit.Spec{Set: [][2]string{{"X-User", "${sni}"}, {"Server", "us"}}, Remove: []string{"Cookie"}})
	if err != nil {
		t.Fatal(err)
	}
	ids := new(requestid.IDs)
	ids.Set(requestid.Policy{RequestID: true, TraceContext: true}, nil, false, [12]byte{1}, []byte("0123456789ABCDEFGHIJ"))
	return Changes{IDs: ids, Edits: edits, Source: fact("a\r\nb")}
}

func TestChangedRequest(t *testing.T) {
	head := strings.Replace(browserRequest, "\r\n\r\n", "\r\nX_User: root\r\nx-user: root\r\nX-Request-ID: forged\r\ntracestate: forged\r\n\r\n", 1)
	req := parseRequest(t, head)
	var up Upgrade
	if err := Check(req, &up); err != nil {
		t.Fatal(err)
	}
	about := About{Fields: [][2]string{{"X-User", "root"}, {"X-Mine", "1"}}, Forwarded: new(forwarded.Policy), Hop: clientHop(req), Host: []byte("inner"), Path: []byte("/v2/x"), Changes: changes(t)}
	got := string(AppendRequest(nil, req, &up, &about))
	for _, want := range []string{"GET /v2/x" + string(req.Query) + " HTTP/1.1\r\nHost: inner\r\n", "\r\nX-User: a  b\r\n", "\r\nX-Request-ID: 0123456789ABCDEFGHIJ\r\n",
		"\r\ntraceparent: 00-", "\r\nX-Mine: 1\r\n", "\r\nX-Forwarded-Host: " + string(req.Host) + "\r\n"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, no := range []string{"root", "forged", "Cookie"} {
		if strings.Contains(got, no) {
			t.Errorf("there is %q in\n%s", no, got)
		}
	}
}

func TestChangedAnswers(t *testing.T) {
	var resp httphead.Response
	head := strings.Replace(backendResponse, "\r\n\r\n", "\r\nserver: theirs\r\nX-Request-Id: theirs\r\nSet-Cookie: a=b\r\n\r\n", 1)
	if n, err := resp.Parse([]byte(head)); n != len(head) {
		t.Fatal(n, err)
	}
	c := changes(t)
	c.SetCookie = []byte("c=d")
	for what, got := range map[string]string{
		"a 101":          string(AppendResponse(nil, &resp, new(Upgrade), &c)),
		"a plain answer": string(appendAnswer(nil, new(Upgrade), &resp, false, &c)),
	} {
		for _, want := range []string{"\r\nX-User: a  b\r\n", "\r\nServer: us\r\n", "\r\nX-Request-ID: 0123456789ABCDEFGHIJ\r\n", "\r\nSet-Cookie: a=b\r\n", "\r\nSet-Cookie: c=d\r\n"} {
			if strings.Count(got, want) != 1 {
				t.Errorf("%s: no %q in\n%s", what, want, got)
			}
		}
		if strings.Contains(got, "theirs") || strings.Contains(got, "traceparent") {
			t.Errorf("%s is\n%s", what, got)
		}
	}
}
