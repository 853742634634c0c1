package main

import (
	"context"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/centrifugal/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	centrifugeModule = "github.com/centrifugal/centrifuge"
	historySize      = 500            // the default of hub
	historyTTL       = 24 * time.Hour // as well
)

func centrifugeVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == centrifugeModule {
			return m.Version
		}
	}
	return ""
}

// centrifugal is centrifuge, set up as its documentation says for Redis: its broker and its
// presence manager, channels with history and recovery, and for channels with many
// subscribers one check of the position for all of them. Everything else has its defaults.
type centrifugal struct {
	ctx        context.Context
	nodes      []*centrifuge.Node
	noPresence bool
	closed     atomic.Bool
	joining    sync.WaitGroup
	rejoins    atomic.Int64
}

// roomKey is the key of a connection's room in its context.
type roomKey struct{}

func openCentrifuge(ctx context.Context, url string, noPresence bool) (system, error) {
	c := &centrifugal{ctx: ctx, noPresence: noPresence}
	for range servers {
		node, err := c.open(url)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, node)
	}
	return c, nil
}

func (c *centrifugal) open(url string) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{
		Metrics: centrifuge.MetricsConfig{RegistererGatherer: prometheus.NewRegistry()},
		GetChannelMediumOptions: func(channel string) centrifuge.ChannelMediumOptions {
			return centrifuge.ChannelMediumOptions{SharedPositionSync: strings.HasPrefix(channel, largeRoom)}
		},
	})
	if err != nil {
		return nil, err
	}
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: url})
	if err != nil {
		return nil, err
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		return nil, err
	}
	node.SetBroker(broker)
	presence, err := centrifuge.NewRedisPresenceManager(node, centrifuge.RedisPresenceManagerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		return nil, err
	}
	node.SetPresenceManager(presence)
	node.OnConnecting(func(ctx context.Context, _ centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		room, _ := ctx.Value(roomKey{}).(string)
		return centrifuge.ConnectReply{Subscriptions: map[string]centrifuge.SubscribeOptions{
			room: {EnableRecovery: true, EmitPresence: !c.noPresence},
		}}, nil
	})
	return node, node.Run()
}

func (c *centrifugal) join(server int, room, member string, receive func([]byte)) error {
	m := &connection{system: c, server: server, room: room, member: member, receive: receive}
	return m.connect(nil)
}

func (c *centrifugal) publish(server int, room, key string, data []byte) error {
	options := []centrifuge.PublishOption{centrifuge.WithHistory(historySize, historyTTL)}
	if key != "" {
		options = append(options, centrifuge.WithIdempotencyKey(key))
	}
	_, err := c.nodes[server].Publish(room, data, options...)
	return err
}

func (c *centrifugal) rejoined() int { return int(c.rejoins.Load()) }

func (c *centrifugal) close() {
	c.closed.Store(true)
	c.joining.Wait()
	for _, node := range c.nodes {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 10*time.Second)
		_ = node.Shutdown(ctx)
		cancel()
	}
}

// connection is a member: a connection of centrifuge that isn't one of a network.
type connection struct {
	system       *centrifugal
	server       int
	room, member string
	receive      func([]byte)

	mu     sync.Mutex
	epoch  string
	offset uint64
}

// connect connects the member, after the position since if it isn't nil.
func (m *connection) connect(since *centrifuge.SubscribeRequest) error {
	ctx := context.WithValue(m.system.ctx, roomKey{}, m.room)
	ctx = centrifuge.SetCredentials(ctx, &centrifuge.Credentials{UserID: m.member})
	t := &transport{member: m}
	client, closed, err := centrifuge.NewClient(ctx, m.system.nodes[m.server], t)
	if err != nil {
		return err
	}
	request := centrifuge.ConnectRequest{}
	if since != nil {
		request.Subs = map[string]centrifuge.SubscribeRequest{m.room: *since}
	}
	if err := client.ConnectNoErrorToDisconnect(request); err != nil {
		t.ended.Store(true) // the caller tries again
		_ = closed()
		return err
	}
	return nil
}

// reconnect connects again after a connection has ended, as centrifuge's clients do.
func (m *connection) reconnect() {
	for !m.system.closed.Load() {
		pauseBeforeRejoin()
		m.mu.Lock()
		since := centrifuge.SubscribeRequest{Recover: true, Epoch: m.epoch, Offset: m.offset}
		m.mu.Unlock()
		if m.connect(&since) == nil {
			m.system.rejoins.Add(1)
			return
		}
	}
}

// transport is what centrifuge writes to.
type transport struct {
	member *connection
	ended  atomic.Bool
}

func (*transport) Name() string                                { return "bench" }
func (*transport) AcceptProtocol() string                      { return "" }
func (*transport) Protocol() centrifuge.ProtocolType           { return centrifuge.ProtocolTypeProtobuf }
func (*transport) ProtocolVersion() centrifuge.ProtocolVersion { return centrifuge.ProtocolVersion2 }
func (*transport) Unidirectional() bool                        { return true }
func (*transport) Emulation() bool                             { return false }
func (*transport) DisabledPushFlags() uint64                   { return centrifuge.PushFlagDisconnect }

// PingPongConfig switches pings off: the other system has no connections to ping.
func (*transport) PingPongConfig() centrifuge.PingPongConfig {
	return centrifuge.PingPongConfig{PingInterval: -1}
}

func (t *transport) Write(data []byte) error {
	t.member.receive(data)
	t.member.follow(data)
	return nil
}

func (t *transport) WriteMany(all ...[]byte) error {
	for _, data := range all {
		_ = t.Write(data)
	}
	return nil
}

func (t *transport) Close(centrifuge.Disconnect) error {
	if t.ended.CompareAndSwap(false, true) && !t.member.system.closed.Load() {
		t.member.system.joining.Go(t.member.reconnect)
	}
	return nil
}

// follow remembers the position of what was written, if the member may have to recover.
func (m *connection) follow(data []byte) {
	if !strings.HasPrefix(m.room, followedRoom) {
		return
	}
	var push protocol.Push
	if push.UnmarshalCF(data) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if push.Pub != nil {
		m.offset = push.Pub.Offset
	}
	if push.Connect != nil {
		if sub := push.Connect.Subs[m.room]; sub != nil {
			m.epoch, m.offset = sub.Epoch, sub.Offset
			for _, pub := range sub.Publications {
				m.offset = pub.Offset
			}
		}
	}
}
