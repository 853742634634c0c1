// Package service runs the balancer as a service of systemd: with sockets from systemd,
// which is told what the balancer is doing.
package service
