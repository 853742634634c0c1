// Package kit has what the end-to-end tests share: the balancer under test,
// backends of several kinds, crowds of clients that check what they get, and
// figures. Each kind of backend is another process, or a server of the test's
// own whose every answer the test chooses.
package kit
