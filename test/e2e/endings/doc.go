// Package endings has the end-to-end tests of how sessions end, and what
// each side and the log see of that; Node's ws is on both sides.
package endings
