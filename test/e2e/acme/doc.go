// Package acme tests certificates by ACME with Pebble as the authority.
package acme
