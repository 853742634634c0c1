//go:build tools

// These imports are held here until the packages that need them exist, so that
// go mod tidy keeps their modules.
package kubernetes

import (
	_ "github.com/holdfast-ws/holdfast/internal/app"
	_ "go.uber.org/goleak"
	_ "k8s.io/api/core/v1"
	_ "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/tools/leaderelection"
	_ "sigs.k8s.io/controller-runtime"
	_ "sigs.k8s.io/controller-runtime/pkg/client/fake"
	_ "sigs.k8s.io/gateway-api/conformance"
)
