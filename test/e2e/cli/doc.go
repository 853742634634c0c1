// Package cli has the end-to-end tests of the commands, their errors and
// exit statuses, and what a started process does with its machine.
package cli
