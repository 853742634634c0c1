// Package forwarding has the end-to-end tests of what a route changes on the way:
// header fields, the host, the path, and the ids of requests.
package forwarding
