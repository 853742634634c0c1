// Package kubernetes is the root of a module of its own. What runs on Kubernetes is in
// its folders, so that the plain binary doesn't depend on Kubernetes.
package kubernetes
