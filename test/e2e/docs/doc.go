// Package docs has the end-to-end tests of what the documentation says: its
// configurations, commands and servers do what it promises.
package docs
