package handshake

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// extensionFields are fields of a head, one for each value.
func extensionFields(values ...string) (fields httphead.Fields) {
	for _, v := range values {
		fields = append(fields, httphead.Field{Name: []byte("Sec-WebSocket-Extensions"), Value: []byte(v)})
	}
	return fields
}

func TestOffers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		offers []string
		want   string // all of the field's value; "" where there is to be none
	}{
		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"bare", []string{"permessage-deflate"}, both},
		{"browser", []string{"permessage-deflate; client_max_window_bits"}, both + "; client_max_window_bits"},
		{"has one", []string{"permessage-deflate; server_no_context_takeover"}, both},
		{"has both", []string{both}, both},
		{"windows", []string{"permessage-deflate;server_max_window_bits=8;client_max_window_bits=15"}, both + "; server_max_window_bits=8; client_max_window_bits=15"},
		{"quoted", []string{`permessage-deflate; server_max_window_bits="10"; client_max_window_bits="\1\2"`}, both + "; server_max_window_bits=10; client_max_window_bits=12"},
		{"space", []string{"permessage-deflate \t; \t server_max_window_bits = 9 ;client_no_context_takeover "}, both + "; server_max_window_bits=9"},
		{"alternatives", []string{"permessage-deflate; server_max_window_bits=10, permessage-deflate", "permessage-deflate; client_max_window_bits"},
			both + "; server_max_window_bits=10, " + both + ", " + both + "; client_max_window_bits"},
		{"others are left out", []string{"x-webkit-deflate-frame, permessage-deflate, permessage-bzip2; a=b", "mux"}, both},
		{"others only", []string{"permessage-deflated; server_no_context_takeover, deflate"}, ""},

		// Offers that a server must decline (RFC 7692 §7.1), and invalid ones.
		{"unknown parameter", []string{"permessage-deflate; level=9, permessage-deflate"}, both},
		{"one twice", []string{"permessage-deflate; client_max_window_bits; client_max_window_bits=9"}, ""},
		{"flag twice", []string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, ""},
		{"other flag twice", []string{"permessage-deflate; client_no_context_takeover; client_no_context_takeover"}, ""},
		{"window twice", []string{"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9"}, ""},
		{"flag with a value", []string{"permessage-deflate; server_no_context_takeover=true"}, ""},
		{"other flag with a value", []string{"permessage-deflate; client_no_context_takeover=8"}, ""},
		{"server's window without", []string{"permessage-deflate; server_max_window_bits"}, ""},
		{"too small", []string{"permessage-deflate; server_max_window_bits=7"}, ""},
		{"too large", []string{"permessage-deflate; client_max_window_bits=16"}, ""},
		{"leading zero", []string{"permessage-deflate; client_max_window_bits=08"}, ""},
		{"no number", []string{"permessage-deflate; client_max_window_bits=1a"}, ""},
		{"long number", []string{"permessage-deflate; client_max_window_bits=100"}, ""},
		{"empty value", []string{"permessage-deflate; client_max_window_bits="}, ""},
		{"empty quotes", []string{`permessage-deflate; client_max_window_bits=""`}, ""},
		{"open quotes", []string{`permessage-deflate; client_max_window_bits="10`}, ""},
		{"open quotes take the rest", []string{`permessage-deflate; client_max_window_bits="10, permessage-deflate`}, ""},
		{"escape at the end", []string{`permessage-deflate; client_max_window_bits="10\`}, ""},
		{"no token in quotes", []string{`permessage-deflate; client_max_window_bits=" 10"`}, ""},
		{"text after quotes", []string{`permessage-deflate; client_max_window_bits="10"1`}, ""},
		{"semicolon at the end", []string{"permessage-deflate;"}, ""},
		{"two semicolons", []string{"permessage-deflate;; client_max_window_bits"}, ""},
		{"no semicolon", []string{"permessage-deflate client_max_window_bits"}, ""},
		{"upper case", []string{"Permessage-Deflate"}, ""},
		{"upper case parameter", []string{"permessage-deflate; Client_Max_Window_Bits"}, ""},

		{"very many", []string{strings.Repeat("permessage-deflate,", 100)}, strings.TrimSuffix(strings.Repeat(both+", ", maxOffers), ", ")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := ""
			if tt.want != "" {
				want = "Sec-WebSocket-Extensions: " + tt.want + "\r\n"
			}
			if got := string(appendOffers(nil, extensionFields(tt.offers...))); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAgreedDeflate(t *testing.T) {
	for _, tt := range []struct {
		name, offer, answer string
		client              string // what the client is answered
		err                 error
	}{
		{"declined", "permessage-deflate", "", "", nil},
		{"nothing offered", "", "", "", nil},
		{"both", "permessage-deflate", both, both, nil},
		{"server's alone", "permessage-deflate", "permessage-deflate; server_no_context_takeover", both, nil},
		{"windows", "permessage-deflate; client_max_window_bits", both + "; server_max_window_bits=12; client_max_window_bits=\"11\"", both + "; server_max_window_bits=12; client_max_window_bits=11", nil},

		{"context taken over", "permessage-deflate", "permessage-deflate", "", errTakeover},
		{"client's alone", "permessage-deflate", "permessage-deflate; client_no_context_takeover", "", errTakeover},
		{"not offered", "", both, "", errExtension},
		{"offered malformed", "permessage-deflate; level=9", both, "", errExtension},
		{"another that the client asked for", "permessage-deflate, mux", both + ", mux", "", errExtension},
		{"only another", "mux", "mux", "", errExtension},
		{"twice", "permessage-deflate", both + ", " + both, "", errExtension},
		{"unknown parameter", "permessage-deflate", both + "; level=9", "", errExtension},
		{"window without a value", "permessage-deflate; client_max_window_bits", both + "; client_max_window_bits", "", errExtension},
		{"malformed", "permessage-deflate", both + "; server_max_window_bits=99", "", errExtension},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := agreedDeflate(extensionFields(tt.answer), extensionFields(tt.offer))
			if err != tt.err {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got := strings.TrimPrefix(string(d.appendTo(nil)), both); d.on && both+got != tt.client || d.on != (tt.client != "") {
				t.Errorf("the client gets %t, %q, want %q", d.on, got, tt.client)
			}
			var broken *BackendError
			if errors.As(err, &broken) && !broken.DependsOnOffer() {
				t.Error("a client's offer can have the backend taken for broken")
			}
		})
	}
}

// TestMovableHandshake checks the heads on both sides.
func TestMovableHandshake(t *testing.T) {
	const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
	if !strings.Contains(browserRequest, offer+"\r\n") {
		t.Fatal("the browser offers something else")
	}
	id := session.NewID()
	for name, tt := range map[string]struct {
		r    Reattach
		want string
	}{
		"first":  {Reattach{ID: id, Why: session.Loss, From: "nobody"}, ""},
		"drain":  {Reattach{ID: id, Attempt: 1, Why: session.Drain, Move: 1, From: "ws1"}, "Holdfast-From: ws1\r\nHoldfast-Move: 1\r\nHoldfast-Reattach: drain\r\nHoldfast-Attempt: 1\r\n"},
		"loss":   {Reattach{ID: id, Attempt: 2, Why: session.Loss, Move: 30}, "Holdfast-Move: 30\r\nHoldfast-Reattach: loss\r\nHoldfast-Attempt: 2\r\n"},
		"excess": {Reattach{ID: id, Attempt: 12, Why: session.Rebalance, Move: 2, From: "bö:80"}, "Holdfast-From: bö:80\r\nHoldfast-Move: 2\r\nHoldfast-Reattach: rebalance\r\nHoldfast-Attempt: 12\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			req := parseRequest(t, strings.Replace(browserRequest, offer, offer+"\r\nHoldfast-Session: forged\r\nHoldfast-Attempt: 99\r\nholdfast_control: 99\r\nHOLDFAST-Anything: forged", 1))
			var up Upgrade
			if err := Check(req, &up); err != nil {
				t.Fatal(err)
			}
			up.Reattach = &tt.r
			got := string(AppendRequest(nil, req, &up, &About{Forwarded: new(forwarded.Policy), Hop: clientHop(req)}))
			tail := "Sec-WebSocket-Extensions: " + both + "; client_max_window_bits\r\nHoldfast-Session: " + id.String() + "\r\nHoldfast-Control: 1\r\n" + tt.want + "\r\n"
			if !strings.HasSuffix(got, tail) {
				t.Errorf("got\n%s\nwant at its end\n%s", got, tail)
			}
			if lower := strings.ToLower(got); strings.Count(lower, "sec-websocket-extensions") != 1 || strings.Contains(lower, "forged") || strings.Contains(lower, ": 99") {
				t.Errorf("something of the client's is left in\n%s", got)
			}

			var resp httphead.Response
			answer := strings.Replace(backendResponse, "\r\n\r\n", "\r\nHoldfast-Control: 1\r\nHoldfast_Else: 1\r\n\r\n", 1)
			if n, err := resp.Parse([]byte(answer)); n != len(answer) {
				t.Fatal(n, err)
			}
			if err := CheckResponse(&resp, &up); err != nil {
				t.Fatal(err)
			}
			out := string(AppendResponse(nil, &resp, &up, nil))
			if strings.Count(out, "Sec-WebSocket-Extensions: "+both+"\r\n") != 1 || strings.Count(strings.ToLower(out), "sec-websocket-extensions") != 1 {
				t.Errorf("the client gets\n%s", out)
			}
			if strings.Contains(strings.ToLower(out), "holdfast") {
				t.Errorf("the client gets what is for the balancer:\n%s", out)
			}
			if a := up.Agreed(&resp); string(a.Protocol) != "superchat" || !a.Deflate.on || !a.Control {
				t.Errorf("agreed: %+v", a)
			}
		})
	}
}

// TestFrameRules: what frames may have goes by what the backend has accepted.
func TestFrameRules(t *testing.T) {
	for _, tt := range []struct {
		answer   string
		reattach bool
		want     frame.Rules
	}{
		{"", false, 0},
		{"permessage-deflate", false, frame.AllowDeflate},
		{"Permessage-Deflate; server_max_window_bits=10", false, frame.AllowDeflate},
		{"x-webkit-deflate-frame", false, frame.AllowExtension},
		{"mux, permessage-deflate", false, frame.AllowExtension | frame.AllowDeflate},
		{"", true, 0},
		{both, true, frame.AllowDeflate},
	} {
		up := Upgrade{offers: extensionFields("permessage-deflate, Permessage-Deflate, mux, x-webkit-deflate-frame")}
		up.key = [24]byte([]byte("dGhlIHNhbXBsZSBub25jZQ=="))
		if tt.reattach {
			up.Reattach = &Reattach{}
		}
		answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
		if tt.answer != "" {
			answer += "Sec-WebSocket-Extensions: " + tt.answer + "\r\n"
		}
		var resp httphead.Response
		if _, err := resp.Parse([]byte(answer + "\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := CheckResponse(&resp, &up); err != nil {
			t.Fatalf("%q: %v", tt.answer, err)
		}
		if got := up.FrameRules(&resp); got != tt.want {
			t.Errorf("%q, reattach %t: rules %b, want %b", tt.answer, tt.reattach, got, tt.want)
		}
	}
}

func TestAgreedSame(t *testing.T) {
	agreed := func(protocol, answer string) Agreed {
		d, err := agreedDeflate(extensionFields(answer), extensionFields("permessage-deflate; client_max_window_bits"))
		if err != nil {
			t.Fatal(err)
		}
		return Agreed{Protocol: []byte(protocol), Deflate: d}
	}
	const server = "permessage-deflate; server_no_context_takeover"
	for _, tt := range []struct {
		a, b Agreed
		same bool
	}{
		{agreed("", ""), agreed("", ""), true},
		{agreed("a", ""), agreed("a", ""), true},
		{agreed("a", ""), agreed("b", ""), false},
		{agreed("a", ""), agreed("A", ""), false},
		{agreed("a", ""), agreed("", ""), false},
		{agreed("", ""), agreed("", both), false},
		{agreed("", both), agreed("", server), true},
		{agreed("", both), agreed("", both+"; server_max_window_bits=15; client_max_window_bits=15"), true},
		{agreed("", both+"; server_max_window_bits=10"), agreed("", both), false},
		{agreed("", both+"; client_max_window_bits=10"), agreed("", both), false},
		{agreed("", both+"; client_max_window_bits=10"), agreed("", both+"; server_max_window_bits=10"), false},
	} {
		if tt.a.Same(tt.b) != tt.same || tt.b.Same(tt.a) != tt.same {
			t.Errorf("%+v and %+v: the same is %t", tt.a, tt.b, !tt.same)
		}
	}
}

func TestIsReserved(t *testing.T) {
	for name, want := range map[string]bool{
		"Holdfast-Session": true, "holdfast-session": true, "HOLDFAST-REATTACH": true, "Holdfast-Attempt": true,
		"Holdfast_Session": true, "holdfast_reattach": true, "holdfast_Attempt": true,
		"Holdfast-Control": true, "HOLDFAST_FROM": true, "holdfast.move": true, "Holdfast-Else": true,
		"Transfer_Encoding": true, "content_length": true, "Proxy_Connection": true,
		"Holdfast": false, "X-Holdfast-Session": false, "HoldfastXSession": false,
		"": false, "Host": false, "My_Own": false, "Connection": false,
	} {
		if got := IsReserved([]byte(name)); got != want {
			t.Errorf("IsReserved(%q) = %t", name, got)
		}
	}
}

// TestOffersProperty makes offers of parameters in any order, spelling and number.
// The output must parse as the input, with context takeover forbidden to both ends.
func TestOffersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", " ", "\t", "  "})
		var list []string
		var want []string
		for range rapid.IntRange(0, 5).Draw(t, "offers") {
			if rapid.IntRange(0, 4).Draw(t, "other") == 0 {
				list = append(list, rapid.SampledFrom([]string{"mux", "x; a=\"1,2\"", "permessage-deflate; a", "permessage-deflate; =", ""}).Draw(t, "extension"))
				continue
			}
			window := rapid.IntRange(8, 15)
			params, normal := []string{}, both
			if rapid.Bool().Draw(t, "server") {
				params = append(params, "server_no_context_takeover")
			}
			if rapid.Bool().Draw(t, "client") {
				params = append(params, "client_no_context_takeover")
			}
			number := func(n int) string {
				digits := fmt.Sprint(n)
				switch rapid.IntRange(0, 2).Draw(t, "quotes") {
				case 0:
					return digits
				case 1:
					return `"` + digits + `"`
				default:
					return `"\` + digits + `"`
				}
			}
			if rapid.Bool().Draw(t, "server window") {
				n := window.Draw(t, "server bits")
				params = append(params, "server_max_window_bits"+space.Draw(t, "")+"="+space.Draw(t, "")+number(n))
				normal += fmt.Sprintf("; server_max_window_bits=%d", n)
			}
			switch rapid.IntRange(0, 2).Draw(t, "client window") {
			case 1:
				params = append(params, "client_max_window_bits")
				normal += "; client_max_window_bits"
			case 2:
				n := window.Draw(t, "client bits")
				params = append(params, "client_max_window_bits="+number(n))
				normal += fmt.Sprintf("; client_max_window_bits=%d", n)
			}
			offer := "permessage-deflate"
			for _, p := range rapid.Permutation(params).Draw(t, "order") {
				offer += space.Draw(t, "") + ";" + space.Draw(t, "") + p
			}
			list, want = append(list, offer), append(want, normal)
		}
		// In one field, or in several.
		var fields []string
		for _, offer := range list {
			if len(fields) > 0 && rapid.Bool().Draw(t, "one field") {
				fields[len(fields)-1] += space.Draw(t, "") + "," + offer
			} else {
				fields = append(fields, offer)
			}
		}
		got := string(appendOffers(nil, extensionFields(fields...)))
		text := ""
		if len(want) > 0 {
			text = "Sec-WebSocket-Extensions: " + strings.Join(want, ", ") + "\r\n"
		}
		if got != text {
			t.Fatalf("%q became %q, want %q", fields, got, text)
		}
		// Each can be agreed to as offered, except a window without a size.
		for _, answer := range want {
			if strings.HasSuffix(answer, "client_max_window_bits") {
				continue
			}
			d, err := agreedDeflate(extensionFields(answer), extensionFields(fields...))
			if err != nil || string(d.appendTo(nil)) != answer {
				t.Fatalf("%q is answered with %q (%v), read as %q", fields, answer, err, d.appendTo(nil))
			}
		}
	})
}

// FuzzExtensions checks the output: offers of one extension that bind both ends and
// can be parsed again.
func FuzzExtensions(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits", both)
	f.Add(`permessage-deflate; server_max_window_bits="\10", mux`, both+"; server_max_window_bits=10")
	f.Add("permessage-deflate; a=\"x,y\" , permessage-deflate;", "permessage-deflate")
	f.Fuzz(func(t *testing.T, offer, answer string) {
		offers := extensionFields(offer)
		out := string(appendOffers(nil, offers))
		if again := string(appendOffers(nil, extensionFields(strings.TrimSuffix(strings.TrimPrefix(out, "Sec-WebSocket-Extensions: "), "\r\n")))); again != out {
			t.Fatalf("%q became %q, and that %q", offer, out, again)
		}
		if n := strings.Count(out, "permessage-deflate"); n > maxOffers || n != strings.Count(out, both) || n == 0 && out != "" {
			t.Fatalf("%q became %q", offer, out)
		}
		if strings.Count(out, "\n") > 1 || strings.ContainsAny(out, "\"\\\x00") {
			t.Fatalf("%q became %q", offer, out)
		}
		d, err := agreedDeflate(extensionFields(answer), offers)
		switch {
		case err != nil:
		case d.on != strings.Contains(answer, "permessage-deflate"), d.on && (out == "" || !d.serverNoTakeover || !strings.Contains(answer, "server_no_context_takeover")):
			t.Fatalf("%q is taken for an answer to %q: %+v", answer, offer, d)
		case !d.same(d):
			t.Fatalf("%+v is not the same as itself", d)
		}
	})
}

// TestAgreedControl: a server gets notices if it names the offered version, once.
func TestAgreedControl(t *testing.T) {
	for fields, want := range map[string]bool{
		"": false, "Holdfast-Control: 1\r\n": true, "holdfast-control:1 \r\n": true, "Holdfast-Control: 2\r\n": false, "Holdfast-Control: 01\r\n": false,
		"Holdfast-Control: yes\r\n": false, "Holdfast-Control:\r\n": false, "Holdfast-Control: 1\r\nHoldfast-Control: 1\r\n": false, "Holdfast-Control: 1, 2\r\n": false,
	} {
		var resp httphead.Response
		head := strings.Replace(backendResponse, "\r\n\r\n", "\r\n"+fields+"\r\n", 1)
		if n, err := resp.Parse([]byte(head)); n != len(head) {
			t.Fatal(n, err)
		}
		if a := new(Upgrade).Agreed(&resp); a.Control != want {
			t.Errorf("%q: %v, want %v", fields, a.Control, want)
		}
	}
}
