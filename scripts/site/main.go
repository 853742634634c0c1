// Command site makes a website of docs/: a page for each document, with an index, a search
// and links that have been checked. The pages need no server and nothing from other hosts.
//
//	go run ./scripts/site -o bin/site
//	go run ./scripts/site -serve 127.0.0.1:8000
//
// docs/SUMMARY.md is the index: a list of links, in sections.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	out := flag.String("o", "bin/site", "directory to write, which is replaced")
	serve := flag.String("serve", "", "address to serve the pages at, such as 127.0.0.1:8000, after they are written")
	version := flag.String("version", "", "version to show")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*root, *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *serve != "" {
		fmt.Printf("http://%s\n", *serve)
		fmt.Fprintln(os.Stderr, http.ListenAndServe(*serve, http.FileServer(http.Dir(*out))))
		os.Exit(1)
	}
}

// run writes the site of the repository at root to the directory out. What was there before
// is replaced only if there is no error.
func run(root, out, version string) error {
	s, err := read(root)
	if err != nil {
		return err
	}
	s.version = version
	if err := s.check(); err != nil {
		return err
	}
	made := filepath.Clean(out) + ".new"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	if err := s.write(made); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.Rename(made, out)
}
