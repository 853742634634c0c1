package headeredit

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	from := &request{fields: fieldsOf("X-A: 1", "X-A: 2", "Cookie: sid=s%20"), query: []byte("?q=a%20b+c&e=")}
	for value, want := range map[string]string{
		"plain":                            "plain",
		"$$5 and $$${host}$$":              "$5 and $host$",
		"${client_ip}:${client_port}":      "client_ip:client_port",
		"${header.x-a} ${header.X-A}":      "1 1",
		"${header.X-B}|${query.e}":         "|",
		"${query.q}":                       "a b c",
		"${cookie.sid}":                    "s%20",
		"${claim.https://a.example/roles}": "claim of https://a.example/roles",
		"${sni}}":                          "sni}",
		"{a} }{":                           "{a} }{",
		"ünïcode":                          "ünïcode",
	} {
		e, err := New(Spec{Set: set("X", value)})
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		if got := string(e.Append(nil, from)); got != "X: "+want+"\r\n" {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
	for _, word := range Variables() {
		if _, err := Parse("${" + strings.Replace(word, "NAME", "x", 1) + "}"); err != nil {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for value, want := range map[string]string{
		"5$":              `write $$ for the character itself`,
		"$host":           `write $$ for the character itself`,
		"${host":          `has no end`,
		"a ${clientip}":   `did you mean "${client_ip}"?`,
		"${}":             `there are client_ip, `,
		"${ host }":       `did you mean "${host}"?`,
		"${HOST}":         `did you mean "${host}"?`,
		"${claims.sub}":   `did you mean "${claim.sub}"?`,
		"${heder.X-A}":    `did you mean "${header.X-A}"?`,
		"${header}":       `the name is missing`,
		"${claim}":        `${claim.sub}`,
		"${header.}":      `the name is missing after the dot`,
		"${claim.}":       `the name is missing after the dot`,
		"${cookie.a b}":   `not allowed in the name`,
		"${header.X\r\n}": `not allowed in the name`,
		"${query.a&b}":    `not allowed in the name`,
		"${claim.a b}":    `visible ASCII`,
		"${host.x}":       `did you mean "${host}"?`,
		"${xyzzyx}":       `there are client_ip, `,
	} {
		if _, err := Parse(value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", value, err, want)
		}
	}
	backend, err := Parse("${backend}")
	if err != nil || Request.Check(backend) == nil || Answer.Check(backend) != nil {
		t.Errorf("${backend}: %v; %v, %v", err, Request.Check(backend), Answer.Check(backend))
	}
}
