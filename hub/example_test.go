package hub_test

import (
	"context"
	"expvar"
	"fmt"
	"log"

	"github.com/holdfast-ws/holdfast/hub"
)

func Example() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{}) // or hub.Redis
	defer rooms.Close()

	first, err := rooms.Publish(ctx, "lobby", []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rooms.Publish(ctx, "lobby", []byte("anybody?")); err != nil {
		log.Fatal(err)
	}
	// Ann's client has the first message already.
	ann, err := rooms.Join(ctx, "lobby", hub.Member{ID: "ann"}, hub.JoinOptions{Since: first, Presence: true})
	if err != nil {
		log.Fatal(err)
	}
	defer ann.Leave()
	bob, err := rooms.Join(ctx, "lobby", hub.Member{ID: "bob"}, hub.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	bob.Leave()
	for range 3 {
		event, err := ann.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		switch event.Kind {
		case hub.Message:
			fmt.Printf("%s\n", event.Data)
		case hub.Joined, hub.Left:
			fmt.Println(event.Member.ID, event.Kind)
		}
	}
	// Output:
	// anybody?
	// bob joined
	// bob left
}

func ExampleHub_Stats() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{}) // or hub.Redis
	defer rooms.Close()
	// After expvar.Publish("hub", stats), once in a process, /debug/vars has it.
	stats := expvar.Func(func() any { return rooms.Stats() })

	ann, err := rooms.Join(ctx, "lobby", hub.Member{ID: "ann"}, hub.JoinOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rooms.Publish(ctx, "lobby", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	if _, err := ann.Next(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(stats)
	// Output:
	// {"Rooms":1,"Memberships":1,"Connected":true,"Delivered":1,"Dropped":0,"Slow":0,"Gaps":0,"CatchUps":0,"Reconnects":0}
}
