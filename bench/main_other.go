//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: only available on Linux, because it reads the CPU time and memory of processes from /proc")
	os.Exit(1)
}
