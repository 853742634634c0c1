// Package kits has the end-to-end tests of the packages in kits/: those of the client, and
// stock clients of a framework behind the balancer, while their sessions move between its
// servers.
package kits
