package importer

import "testing"

func TestSeesQuery(t *testing.T) {
	for expression, want := range map[string]bool{
		"^/ws": false, "^/ws$": false, "^/ws/.*": false, "^/ws/(.*)$": false, "(?i)^/(a|b)/[0-9]+": false, "^/rooms/[^/?]+": false,
		"debug": true, "/ws$": true, "^/api/.*secret": true, "^/x/[^/]+/y": true, `^/x\?a=1`: true, ".*": true, "": true, "(": true, "^/a|b": true,
	} {
		if got := SeesQuery(expression); got != want {
			t.Errorf("SeesQuery(%q) is %v", expression, got)
		}
	}
}
