// Package socketio tests examples/socketio: Socket.IO servers whose sessions move, with the
// stock client in Node and in Chromium.
package socketio
