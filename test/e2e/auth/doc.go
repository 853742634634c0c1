// Package auth tests who may come: tokens, their expiry, sessions by claim, and
// endpoints that are asked.
package auth
