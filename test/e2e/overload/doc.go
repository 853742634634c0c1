// Package overload has the end-to-end tests of storms, floods, slow clients
// and churn: load that the balancer bounds or survives.
package overload
