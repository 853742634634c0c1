// Package monitoring tests what is in deploy/ for Prometheus and Grafana with the real
// Prometheus and promtool, and the queries of docs/metrics.md. internal/ops/metrics tests
// that they use no metric or label that doesn't exist.
package monitoring
