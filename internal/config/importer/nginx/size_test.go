package nginx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
)

// large is a configuration of so many lines, with many servers, locations and upstreams.
func large(lines int) string {
	var b strings.Builder
	b.WriteString("http {\nmap $http_upgrade $connection_upgrade { default upgrade; '' close; }\n")
	for i := 0; strings.Count(b.String(), "\n") < lines-1; i++ {
		fmt.Fprintf(&b, `upstream u%d {
    hash $remote_addr consistent;
    server 10.0.%d.1:3000 max_fails=3 fail_timeout=30s;
    server 10.0.%d.2:3000 max_fails=3 fail_timeout=30s;
}
server {
    listen 80;
    server_name s%d.example.com *.s%d.example.com;
    location / {
        proxy_pass http://u%d;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
    location /api/ { proxy_pass http://u%d/v1/; }
    location ~ ^/re%d/(.*)$ { return 301 https://$host/$1; }
}
`, i, i%250, i%250, i, i, i, i, i)
	}
	b.WriteString("}\n")
	return b.String()
}

func importText(t testing.TB, text string) *importer.Result {
	t.Helper()
	none := func(string) ([]syntax.Text, error) { return nil, nil }
	res, err := convert([]syntax.Text{{Name: "nginx.conf", Data: []byte(text)}}, "/", none, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func BenchmarkLarge(b *testing.B) {
	text := large(10_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		importText(b, text)
	}
}
