package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const (
	configFile   = "holdfast.yaml"
	backendsFile = "servers.json" // in the same directory
	chatPool     = "chat"
)

// configText is the format of the configuration. Its arguments are the address to
// listen on, the address of the controls and the log level. The times are short, so
// that a user can watch what happens.
const configText = `# The configuration of "holdfast demo".
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

// writeConfig writes the balancer's configuration into dir and returns its file
// name. The fleet writes the backends into a separate file.
func writeConfig(dir string, o Options, controls string) (file string, err error) {
	file = filepath.Join(dir, configFile)
	text := fmt.Sprintf(configText, quoteYAML(o.Listen), quoteYAML(controls), quoteYAML(o.LogLevel))
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// quoteYAML quotes a string as JSON, which is also valid YAML.
func quoteYAML(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // can't happen for a string
	}
	return string(text)
}
