// Package process runs the child processes of tests: the balancer's binary,
// servers, browsers. Their output can be searched while they run, and is part
// of the test's log if the test fails.
package process
