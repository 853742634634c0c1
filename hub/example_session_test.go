package hub_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"

	"github.com/holdfast-ws/holdfast/hub"
)

// Two servers share rooms through Redis. Ann has a connection to the first, in two
// rooms, and the second sends to her, publishes and disconnects her.
func ExampleSession() {
	ctx := context.Background()
	redis := miniredis.NewMiniRedis() // in production, a Redis server
	if err := redis.Start(); err != nil {
		log.Fatal(err)
	}
	defer redis.Close()
	open := func() hub.Hub {
		rooms, err := hub.Redis(hub.RedisOptions{URL: "redis://" + redis.Addr()})
		if err != nil {
			log.Fatal(err)
		}
		return rooms
	}
	first, second := open(), open()
	defer first.Close()
	defer second.Close()

	// The reader of Ann's connection does this at her request.
	ann := hub.NewSession(first, hub.Member{ID: "ann"}, hub.SessionOptions{})
	defer ann.Close()
	for _, room := range []string{"lobby", "attic"} {
		if err := ann.Join(ctx, room, hub.JoinOptions{History: 50}); err != nil {
			log.Fatal(err)
		}
	}

	// next does one round of the loop that writes to Ann's connection.
	next := func() bool {
		event, err := ann.Next(ctx)
		if err != nil {
			code, reason := hub.CloseStatus(err)
			fmt.Println("close", code, reason)
			return false
		}
		switch event.Kind {
		case hub.Entered:
			fmt.Println("you are in the", event.Room)
		case hub.Message:
			fmt.Printf("%s in the %s: %s\n", event.Sender, event.Room, event.Data)
		case hub.Direct:
			fmt.Printf("for you: %s\n", event.Data)
		}
		return true
	}
	next()
	next()

	_, err := second.PublishWith(ctx, "attic", []byte("hello"), hub.PublishOptions{Sender: "bob"})
	if err != nil {
		log.Fatal(err)
	}
	next()
	if err := second.SendTo(ctx, "ann", []byte("your account is closed")); err != nil {
		log.Fatal(err)
	}
	if err := second.Disconnect(ctx, "ann", 4003, "closed"); err != nil {
		log.Fatal(err)
	}
	for next() {
	}
	// Output:
	// you are in the lobby
	// you are in the attic
	// bob in the attic: hello
	// for you: your account is closed
	// close 4003 closed
}
