// Package https has the end-to-end tests of HTTP over TLS: HTTP/2, redirects to
// https, and what backends are told about clients and their certificates.
package https
