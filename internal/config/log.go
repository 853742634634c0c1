package config

import "time"

// Log says how and how much is logged.
type Log struct {
	Format string `key:"format" words:"json text"`
	Level  string `key:"level" words:"debug info warn error"`
	// File is where lines go; "" is the standard error.
	File string `key:"file" as:"file" want:"the path of a file such as /var/log/holdfast/holdfast.log"`
	// HTTP says which plain HTTP requests have a line: none, those with a status of 400
	// and above and those that break off, or all.
	HTTP string `key:"http" words:"off errors all"`
	// Interval is how often a session has a line while it lasts; 0 is never.
	Interval time.Duration `key:"interval" range:"0|10s..8760h"`
}
