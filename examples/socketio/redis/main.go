// Command redis is a replacement for a Redis server, inside its process, for those who want
// to try the example and have none. It prints its URL, and ends when its standard input does.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	server := miniredis.NewMiniRedis()
	password := rand.Text() // so that other users of the machine can't use it
	server.RequireAuth(password)
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		log.Fatal(err)
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", password), Host: server.Addr()}
	fmt.Println(u.String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// It doesn't expire keys by itself.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
