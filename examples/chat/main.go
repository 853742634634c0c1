// Command chat is the chat server of docs/chat.md.
//
//	go run ./examples/chat --listen :3000 --redis redis://localhost:6379 --name chat-1
//
// Without --redis the server doesn't share its rooms, and a balancer can't move
// its sessions to another server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/examples/chat/chat"
	"github.com/holdfast-ws/holdfast/hub"
)

func main() {
	listen := flag.String("listen", ":3000", "`address` to serve on")
	url := flag.String("redis", "", "`URL` of the Redis server that all chat servers share (default: none)")
	name := flag.String("name", "chat", "server `name` shown to users")
	notice := flag.Duration("notice", 0, "how long a drain waits until the balancers have noticed (default 15s)")
	flag.Parse()
	if err := run(*listen, *url, *name, *notice); err != nil {
		log.Fatal(err)
	}
}

func run(listen, url, name string, notice time.Duration) error {
	kit := backend.New(backend.Options{MaxSessions: 10_000, Notice: notice})
	o := chat.Options{Name: name, Kit: kit, Rooms: hub.Memory(hub.Options{}), Sessions: chat.MemorySessions()}
	if url != "" {
		client, err := chat.RedisClient(url)
		if err != nil {
			return fmt.Errorf("--redis: %w", err)
		}
		defer client.Close()
		if o.Rooms, o.Sessions, err = chat.OnRedis(client); err != nil {
			return err
		}
	}
	err := kit.Run(context.Background(), listen, chat.New(o).Handler())
	return errors.Join(err, o.Rooms.Close())
}
