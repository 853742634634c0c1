//go:build tools

// This import is held here until the test that needs it exists, so that go mod tidy keeps
// its module.
package kubernetes

import _ "sigs.k8s.io/gateway-api/conformance"
