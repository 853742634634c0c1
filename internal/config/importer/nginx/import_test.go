package nginx

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
)

func testFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	return files
}

// TestOneNote: each directive has exactly one note, in the order of the file.
func TestOneNote(t *testing.T) {
	for _, file := range testFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := syntax.Parse(syntax.Text{Name: file, Data: data}, loader("testdata"))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		var collect func([]*syntax.Directive)
		collect = func(list []*syntax.Directive) {
			for _, d := range list {
				want = append(want, importer.Note{Place: place(d.Pos), Directive: show(d)}.String())
				collect(d.Block)
			}
		}
		collect(list)
		res, err := Import([]string{file}, importer.Options{AcceptLoss: true})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var got []string
		for _, n := range res.Notes {
			if n.Line > 0 {
				got = append(got, importer.Note{Place: n.Place, Directive: n.Directive}.String())
				if n.Outcome != importer.Carried && n.Text == "" {
					t.Errorf("%v: the note has no text", n)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the notes\n%s\nwant\n%s", file, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestGuards: nothing that restricts who gets in is left out without being refused,
// wherever it stands.
func TestGuards(t *testing.T) {
	for _, guard := range []string{
		"auth_basic x;", "auth_jwt x;", "auth_request /none;", "allow bad; deny all;", "deny unix:; allow all;", "limit_conn none 1;",
		"limit_req zone=none;", "secure_link x;", "valid_referers none;", "limit_rate 1k;", "if ($invalid_referer) { return 403; }",
		"limit_except GET { auth_basic x; }", `if ($request_uri ~ debug) { return 403; }`, "if ($request_uri != /open) { return 403; }", `if ($request_uri !~ "^/open$") { return 403; }`,
		"if ($arg_debug = 1) { return 403; }", "if ($arg_debug) { return 444; }", "client_max_body_size much;", "access_by_lua_block { x }", "satisfy any; auth_request /none;",
	} {
		for _, text := range []string{
			"server { listen 80; location /p { proxy_pass http://127.0.0.1:1; GUARD } }",
			"server { listen 80; GUARD location /p { proxy_pass http://127.0.0.1:1; } }",
			"server { listen 80; location /p { location /p/x { proxy_pass http://127.0.0.1:1; GUARD } proxy_pass http://127.0.0.1:1; } }",
		} {
			text = strings.Replace(text, "GUARD", guard, 1)
			_, err := convert([]syntax.Text{{Name: "f", Data: []byte(text)}}, "/", nil, importer.Options{})
			if err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// TestRules: the lists of a route admit those that nginx's rules admit.
func TestRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 15).Draw(t, "last"))})
		})
		var list []*syntax.Directive
		for range rapid.IntRange(1, 6).Draw(t, "rules") {
			d := &syntax.Directive{Name: rapid.SampledFrom([]string{"allow", "deny"}).Draw(t, "rule")}
			network := rapid.SampledFrom([]string{"all", "10.0.0.0/8", "::/0", ""}).Draw(t, "network")
			if network == "" {
				p, _ := address.Draw(t, "address").Prefix(rapid.IntRange(27, 32).Draw(t, "bits"))
				network = p.String()
			}
			d.Args = []string{network}
			list = append(list, d)
		}
		allow, deny, err := new(converter).rules(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []netip.Addr{address.Draw(t, "client"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
			want := true
			for _, d := range list {
				if p, err := parseNetwork(d.Args[0]); d.Args[0] == "all" || err == nil && p.Contains(a) {
					want = d.Name == "allow"
					break
				}
			}
			_, denied := clientprefix.Find(deny, a)
			_, allowed := clientprefix.Find(allow, a)
			if got := !denied && (allow == nil || allowed); got != want {
				t.Fatalf("%s is admitted: %t, want %t; allow %v deny %v", a, got, want, allow, deny)
			}
		}
	})
}

func TestSegments(t *testing.T) {
	for _, c := range []struct {
		expression, group string
		want              int
	}{
		{`^/rooms/([^/]+)`, "1", 2}, {`^/rooms/(?<room>[^/?]+)/`, "room", 2}, {`^/(\w+)/x/(?P<b>[a-z0-9-]+)$`, "b", 3}, {`^/(\w+)/x/`, "1", 1},
		{`^/[^/]+/v[0-9]+/(.+)$`, "1", 3}, {`/rooms/([^/]+)`, "1", 0}, {`^/rooms/(a|b/c)`, "1", 0}, {`^/rooms(?:/x)?/([^/]+)`, "1", 0}, {`^/rooms/x([^/]+)`, "1", 0}, {`^/a/([^/]+)`, "2", 0},
	} {
		if n, _ := segmentIn(c.expression, c.group); n != c.want {
			t.Errorf("%s in %s: segment %d, want %d", c.group, c.expression, n, c.want)
		}
	}
}

// TestLoops: variables and maps that are made of themselves are refused, in no time.
func TestLoops(t *testing.T) {
	doubled := strings.Repeat(`set $a "$a$a";`, 60)
	chain := ""
	for i := range 40 {
		chain += fmt.Sprintf("map $host $m%d { default $m%d$m%d; a.example $m%d; }\n", i, i+1, i+1, i+1)
	}
	for _, text := range []string{
		"map $a $a { default $a; } server { location / { proxy_pass http://$a; } }",
		"map $a $b { default 1; } map $b $a { default 2; x 3; } server { location / { proxy_pass http://$a; } }",
		"map $b $a { '' $a; default $b; } upstream u { hash $a; server 127.0.0.1:1; } server { location / { proxy_pass http://u; } }",
		"map $a $a { '' $a; default $a; } upstream u { hash $a; server 127.0.0.1:1; } server { location / { proxy_pass http://u; } }",
		"map $host $a { default $b; } map $host $b { default $a; } server { location / { proxy_set_header X $a; proxy_set_header Connection $b; proxy_pass http://127.0.0.1:1; } }",
		"server { location / { set $a x; " + doubled + " proxy_set_header X $a; proxy_pass http://127.0.0.1:1; } }",
		chain + "server { location / { proxy_set_header X $m0; proxy_pass http://127.0.0.1:1; } }",
	} {
		if _, err := convert([]syntax.Text{{Name: "f", Data: []byte(text)}}, "/", nil, importer.Options{}); err == nil {
			t.Errorf("%.80s: it was accepted", text)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"http { }", true}, {"# a\n\n  user www-data;\nevents {}\n", true}, {"upstream a\n{\n server b;\n}", true}, {"server {\n listen 80;", true},
		{"map $a $b {\n", true}, {"worker_processes auto;", true}, {"log_format main '$a'\n '$b';", true}, {"stream{}", true}, {"limit_req_zone $a zone=b:1m rate=1r/s;", true},
		{"", false}, {"# only", false}, {"listeners:\n  - address: \":80\"", false}, {"global\n  log stdout\n", false}, {"frontend a\n bind :80\n", false},
		{"apiVersion: networking.k8s.io/v1\nkind: Ingress\n", false}, {"{\"LoadBalancers\": []}", false}, {"---\nlisteners: [{address: \":80\"}]\n", false},
		{"server: {a: b}", false}, {"listen a\n bind :80\n", false}, {"defaults\n  mode http\n", false}, {"include: x\n", false},
	} {
		if got := Detect("f", []byte(c.text)); got != c.want {
			t.Errorf("%q: %t", c.text, got)
		}
	}
	for _, file := range testFiles(t) {
		data, _ := os.ReadFile(file)
		if !Detect(file, data) {
			t.Errorf("%s isn't taken for a configuration of nginx", file)
		}
	}
}

// FuzzImport: no text makes the import crash; what it returns is a valid configuration or
// errors with places in the text.
func FuzzImport(f *testing.F) {
	for _, file := range testFiles(f) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 {
			return
		}
		none := func(string) ([]syntax.Text, error) { return nil, nil }
		for _, accept := range []bool{false, true} {
			res, err := convert([]syntax.Text{{Name: "f", Data: []byte(text)}}, "/", none, importer.Options{AcceptLoss: accept})
			switch {
			case err != nil:
			case res.Config == nil:
				t.Fatal("neither a configuration nor an error")
			case res.Config.Validate() != nil:
				t.Fatalf("it isn't valid: %v", res.Config.Validate())
			}
		}
	})
}
