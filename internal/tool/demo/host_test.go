package demo

import "testing"

func TestLocalNames(t *testing.T) {
	tests := map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8080": true, "[::1]:8080": true, "[::1]": true, "192.168.1.7:80": true,
		"localhost": true, "LOCALHOST:8080": true, "demo.localhost:8080": true, "box": true, "Box:8080": true,
		"": false, "evil.example": false, "evil.example:8080": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example:80": false, "box.evil.example": false, "notlocalhost": false,
	}
	for host, want := range tests {
		if got := isLocalName(host, "box"); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
