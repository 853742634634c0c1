// Package kits has the end-to-end tests of the packages in kits/: stock clients of a
// framework behind the balancer, while their sessions move between its servers.
package kits
