// Package dashboard has the end-to-end tests of the dashboard: an operator in Chromium, with
// a balancer whose sessions talk.
package dashboard
