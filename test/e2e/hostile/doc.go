// Package hostile has the end-to-end tests of requests and answers that are made
// to confuse: a server that records every byte shows what gets past the balancer.
package hostile
