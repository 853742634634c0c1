package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const (
	configFile   = "holdfast.yaml"
	backendsFile = "servers.json" // beside it
	chatPool     = "chat"
)

// configText is the configuration, to be filled in: the address to listen on,
// that of the controls and the log's level. A deploy takes seconds here: what
// is for the eyes shouldn't take minutes.
const configText = `# What "holdfast demo" runs.
listeners: [{address: %s}]
routes:
  - {match: {path: ` + controlsPath + `}, pool: controls}
  - {pool: ` + chatPool + `}
pools:
  ` + chatPool + `:
    file: ` + backendsFile + `
    health: {http: {path: /health}, interval: 500ms, timeout: 400ms, fall: 2, rise: 1}
    drain: {timeout: 8s, spread: 3s}
    reattach: {on: [drain, loss, rebalance], timeout: 10s}
    rebalance: {above: 10%%, rate: 5/s, min_age: 3s}
  controls:
    backends: [{address: %s}]
timeouts: {shutdown: 1s}
log: {format: text, level: %s}
`

// writeConfig writes the balancer's configuration into dir and returns the
// file. The backends stand in a file of their own, that the fleet writes.
func writeConfig(dir string, o Options, controls string) (file string, err error) {
	file = filepath.Join(dir, configFile)
	text := fmt.Sprintf(configText, quoted(o.Listen), quoted(controls), quoted(o.LogLevel))
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// quoted is s as YAML, of which JSON is a part.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be written
	}
	return string(text)
}
