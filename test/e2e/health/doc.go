// Package health has the end-to-end tests of health checks, ejection, and
// what clients see of sick backends.
package health
