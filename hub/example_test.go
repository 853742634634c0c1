package hub_test

import (
	"context"
	"encoding/json"
	"expvar"
	"fmt"
	"log"
	"log/slog"

	"github.com/redis/go-redis/v9"

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
	// {"Rooms":1,"Memberships":1,"Sessions":0,"Connected":true,"Delivered":1,"Dropped":0,"Slow":0,"Gaps":0,"CatchUps":0,"Reconnects":0}
}

// After an error it isn't known whether a message was published. With a key it
// can be published again.
func ExampleHub_PublishWith() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{}) // or hub.Redis
	defer rooms.Close()

	for range 2 { // as if the first attempt had returned an error
		o := hub.PublishOptions{Key: "ann/1", Sender: "ann"}
		if _, err := rooms.PublishWith(ctx, "lobby", []byte("hello"), o); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := rooms.Publish(ctx, "lobby", []byte("bye")); err != nil {
		log.Fatal(err)
	}
	history, err := rooms.HistoryOf(ctx, "lobby", "", 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, event := range history {
		fmt.Printf("%q: %s\n", event.Sender, event.Data)
	}
	// Output:
	// "ann": hello
	// "": bye
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

// A large room without presence: joining it writes nothing to Redis.
func ExampleOptions_room() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{Room: func(room string, o hub.RoomOptions) hub.RoomOptions {
		if room == "news" {
			o.NoPresence = true
			o.History = 10
		}
		return o
	}})
	defer rooms.Close()
	for _, room := range []string{"lobby", "news"} {
		m, err := rooms.Join(ctx, room, hub.Member{ID: "ann"}, hub.JoinOptions{})
		if err != nil {
			log.Fatal(err)
		}
		defer m.Leave()
		members, err := rooms.Members(ctx, room)
		fmt.Println(len(members), err)
	}
	// Output:
	// 1 <nil>
	// 0 hub: the room has no presence
}

// All members get the same JSON, so each event is encoded once, however many members
// receive it.
func ExampleOptions_encode() {
	ctx := context.Background()
	rooms := hub.Memory(hub.Options{Encode: func(e hub.Event) []byte { // or hub.Redis
		text, err := json.Marshal(map[string]string{
			"kind": e.Kind.String(), "id": e.ID, "sender": e.Sender, "text": string(e.Data),
		})
		if err != nil {
			panic(err) // strings can't fail
		}
		return text
	}})
	defer rooms.Close()
	var members []*hub.Membership
	for _, id := range []string{"ann", "bob"} {
		m, err := rooms.Join(ctx, "lobby", hub.Member{ID: id}, hub.JoinOptions{})
		if err != nil {
			log.Fatal(err)
		}
		defer m.Leave()
		members = append(members, m)
	}
	if _, err := rooms.PublishWith(ctx, "lobby", []byte("hello"), hub.PublishOptions{Sender: "ann"}); err != nil {
		log.Fatal(err)
	}
	for _, m := range members {
		event, err := m.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		var message struct{ Kind, Sender, Text string }
		if err := json.Unmarshal(event.Encoded, &message); err != nil { // the client does this
			log.Fatal(err)
		}
		fmt.Println(message)
	}
	// Output:
	// {message ann hello}
	// {message ann hello}
}

// Rooms in a Redis Cluster: give the hub a client of the cluster.
func ExampleRedis_cluster() {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 []string{"10.0.0.5:6379", "10.0.0.6:6379", "10.0.0.7:6379"},
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
	})
	defer client.Close() // after the hub
	rooms, err := hub.Redis(hub.RedisOptions{Client: client, ShardedPubSub: true, Log: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	defer rooms.Close()
	// Use rooms as with a single server.
}
