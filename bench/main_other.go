//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: needs Linux, where it reads CPU and memory of processes from /proc")
	os.Exit(1)
}
