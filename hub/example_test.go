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
	// Ann's client already has the first message.
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
	// expvar.Publish("hub", stats) makes the stats available at /debug/vars.
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

// After an error it isn't known whether a message was published. With a key it
// can be published again.
func ExampleHub_PublishOnce() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{}) // or hub.Redis
	defer rooms.Close()

	for range 2 { // as if the first attempt had returned an error
		if _, err := rooms.PublishOnce(ctx, "lobby", "ann/1", []byte("hello")); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := rooms.Publish(ctx, "lobby", []byte("bye")); err != nil {
		log.Fatal(err)
	}
	bob, err := rooms.Join(ctx, "lobby", hub.Member{ID: "bob"}, hub.JoinOptions{History: 10})
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Leave()
	for range 2 {
		event, err := bob.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", event.Data)
	}
	// Output:
	// hello
	// bye
}

func ExampleCloseStatus() {
	rooms := hub.Memory(hub.Options{MaxData: 10})
	defer rooms.Close()
	_, err := rooms.Publish(context.Background(), "lobby", make([]byte, 11))
	code, reason := hub.CloseStatus(err)
	fmt.Println(err)
	fmt.Println(code, reason)
	// Output:
	// hub: too large: data has 11 bytes, the limit is 10
	// 1009 too large
}
