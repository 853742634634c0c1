// Package changes tests, with the built binary, that backends are changed at run time
// while sessions go on, and what a reload and a restart make of that.
package changes
