// Package top has the end-to-end tests of holdfast top: the built binary in a
// pseudo-terminal, whose screen an emulator of terminals reads.
package top
