package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chatring/chatring/app/api"
	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/config"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/home"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/redisbroker"
	"github.com/chatring/chatring/app/redisconn"
	"github.com/chatring/chatring/app/redisstore"
	"github.com/chatring/chatring/app/ring"
	"github.com/chatring/chatring/app/session"
	"github.com/chatring/chatring/app/web"
)

// A node is the parts, built and wired. The order of the fields is the order
// in which they are taken down.
type node struct {
	config    config.Config
	count     *metrics.Set
	health    *api.Health
	self      *ring.Self
	keys      *auth.JWT // nil: dev mode
	home      *home.Guide
	ingress   *redisstore.Queue // nil: this node does not read it
	gateway   *gateway.Gateway
	serving   *http.Server
	ops       *http.Server // nil: none
	cluster   *cluster.Cluster
	broadcast *cluster.Broadcast
	friends   *friends.Friends
	teller    *teller // nil: the application is told nothing
	hub       *hub.Hub
	store     *redisstore.Store // nil: all is in memory
}

// serve runs a node until SIGTERM or an interrupt, and then drains it. A
// second signal ends the process at once.
func serve(c config.Config) error {
	slog.SetDefault(newLogger(c).With("appid", c.APPID))
	n, err := build(c)
	if err != nil {
		return usageError{err}
	}
	slacken() // the first time, the process executes itself and is here again
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(told, stop) // a second signal kills, as it does by default
	warn(c)
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("serving port: %w (choose another with --listen)", err)
	}
	var opsLn net.Listener
	if n.ops != nil {
		if opsLn, err = net.Listen("tcp", c.Ops.Listen); err != nil {
			return fmt.Errorf("operators' port: %w (choose another with --ops-listen; empty: none)", err)
		}
	}
	slog.Info("serving", "version", buildVersion(), "listen", ln.Addr().String(), "ops", c.Ops.Listen, "broker", c.Broker, "auth", c.Auth.Mode)
	if c.Broker == "memory" {
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		fmt.Fprintf(os.Stderr, "\n  chatring is at http://localhost:%s (open it in two tabs)\n\n", port)
	}
	return n.run(told, ln, opsLn)
}

// run serves until told ends or a part fails, and takes the parts down in
// order.
func (n *node) run(told context.Context, ln, opsLn net.Listener) error {
	parts, failed := errgroup.WithContext(told)
	life, end := context.WithCancel(context.Background())
	talk, hush := context.WithCancel(life)
	defer hush()
	parts.Go(func() error { return n.hub.Run(life) })
	parts.Go(func() error {
		defer end() // what the nodes say opens rooms: it ends before the hub
		var talks errgroup.Group
		talks.Go(func() error { return n.cluster.Run(talk) })
		talks.Go(func() error { return n.broadcast.Run(talk) })
		return talks.Wait()
	})
	parts.Go(func() error { return n.friends.Run(life) })
	parts.Go(func() error { return n.self.Run(life) })
	if n.teller != nil {
		parts.Go(func() error { return n.teller.run(life) })
	}
	if n.keys != nil {
		parts.Go(func() error { return n.keys.Run(life) })
	}
	parts.Go(func() error {
		return unlessClosed(n.serving.Serve(gateway.NewListener(ln, n.gateway)))
	})
	if n.ops != nil {
		parts.Go(func() error { return unlessClosed(n.ops.Serve(opsLn)) })
	}
	parts.Go(func() error { return n.home.Run(failed) })
	if n.ingress != nil {
		parts.Go(func() error { return n.ingress.Run(failed) })
	}
	parts.Go(func() error {
		<-failed.Done() // told, or a part has failed
		n.drain(told.Err() != nil)
		hush()
		return nil
	})
	err := parts.Wait()
	if n.store != nil {
		_ = n.store.Close()
	}
	slog.Info("stopped")
	return err
}

// patience is how long members may wait in all, beyond their turns, for their
// rooms to be opened elsewhere before they are sent away. See config.DrainWithin.
const patience = 2 * time.Second

// drain takes the node off the ring, sends its members elsewhere, and stops
// serving.
func (n *node) drain(orderly bool) {
	d := gateway.Departure{Rate: n.config.Drain.Rate}
	n.health.Drain()
	n.self.Note(ring.Event{Kind: ring.Draining})
	if orderly && n.config.Broker != "memory" { // else there is nobody to wait for, and nowhere to go
		d.Within = n.config.DrainWithin()
		d.Ahead, d.Patience = n.home.Announce, patience
		slog.Info("draining", "notice", n.config.Drain.Notice, "within", d.Within)
		time.Sleep(n.config.Drain.Notice)
	}
	n.gateway.Close(d)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, s := range []*http.Server{n.serving, n.ops} {
		if s == nil {
			continue
		}
		if err := s.Shutdown(ctx); err != nil {
			_ = s.Close()
		}
	}
}

func unlessClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// build makes the parts; nothing runs yet. Its errors are those of settings.
func build(c config.Config) (*node, error) {
	count := metrics.New(c.APPID, buildVersion())
	n := &node{config: c, count: count}
	broker, err := newBroker(c, count, n.bridged)
	if err != nil {
		return nil, err
	}
	n.health = api.NewHealth(broker.Check)
	n.self = n.newSelf()
	if n.store, err = newStore(c); err != nil {
		return nil, err
	}
	var authenticator auth.Authenticator = auth.Dev{}
	if c.Auth.Mode != "dev" {
		if n.keys, err = newJWT(c); err != nil {
			return nil, err
		}
		authenticator = n.keys
	}
	if broker, err = n.tellApplication(broker); err != nil {
		return nil, err
	}
	n.hub = hub.New(broker, hub.Options{
		Rooms: c.Room.Max, Window: c.Room.Window, WindowBudget: c.Room.WindowBudget, Linger: c.Room.Linger,
		OpenTimeout: c.Room.OpenTimeout, FillGrace: c.Room.FillGrace, Rest: c.Room.Rest, Gather: c.Room.Gather,
		RetentionAge: c.Retention.Age, Node: c.APPID,
		Occupied: n.occupied, Healed: n.healed,
	}, &count.Hub)
	n.connectFriends(broker)
	n.cluster = cluster.New(n.hub, c.APPID)
	n.broadcast = cluster.NewBroadcast(n.hub, c.APPID)
	logouts := n.hearLogouts()
	options := gatewayOptions(c)
	options.Session.Bookmarks, options.Session.Contacts = n.bookmarks(broker), n.friends
	options.Session.Modules, options.Tickets = n.modules(), n.tickets()
	if err := n.askApplication(&options); err != nil {
		return nil, err
	}
	n.gateway = gateway.New(n.hub, authenticator, logouts, options, count)
	n.connectHomes()
	n.hearServices()
	n.openIngress()
	serving := http.NewServeMux()
	door := n.gateway.Handler()
	serving.Handle("/ws/", door)
	serving.Handle("/sse/", door)
	probes := api.Serving(c.APPID, n.health)
	serving.Handle("/healthz", probes)
	if c.Serves("api") {
		serving.Handle("/api/", n.newServices(authenticator, logouts).Handler())
	}
	if c.Serves("chat") { // others are not on the ring, and no way around HAProxy
		serving.Handle("/shard/", probes)
		serving.Handle("/", web.Handler())
	}
	n.serving = newServer(serving)
	if c.Ops.Listen != "" {
		n.ops = newServer(n.operators())
	}
	return n, nil
}

func newBroker(c config.Config, count *metrics.Set, bridged func(broken error)) (chat.Broker, error) {
	if c.Broker == "memory" {
		if c.Env == "production" { // not in config: a token is made beside a node as well
			return nil, errors.New("broker: memory keeps nothing, and env is production: use redis with redis.url")
		}
		cluster := membroker.New(membroker.Retention(int(c.Retention.Messages)), membroker.KeyWindow(c.Retention.KeyWindow))
		return cluster.Node(c.APPID), nil
	}
	tells, err := published(c)
	if err != nil {
		return nil, err
	}
	b, err := redisbroker.New(redisbroker.Options{
		URL: c.Redis.URL, User: c.Redis.User, PasswordFile: c.Redis.PasswordFile, AppID: c.APPID,
		Fsync: c.Redis.Ack == "fsync", Replicas: c.Redis.Replicas, AckTimeout: c.Redis.AckTimeout,
		Retention: int(c.Retention.Messages), RetentionAge: c.Retention.Age, KeyWindow: c.Retention.KeyWindow,
		QueueBytes: config.QueueBytes,
		Vital:      cluster.Room, // to log out who has filled Redis
		Tells:      tells, Backlog: c.Hooks.Backlog,
		Bridged: bridged,
	})
	if err != nil {
		return nil, err
	}
	count.WatchBroker(func() metrics.Broker { return metrics.Broker(b.Stats()) })
	return b, nil
}

// newStore returns what keeps in Redis what is no log; nil if all is in memory.
func newStore(c config.Config) (*redisstore.Store, error) {
	if c.Broker == "memory" {
		return nil, nil
	}
	o, err := redisconn.Options(c.Redis.URL, c.Redis.User, c.Redis.PasswordFile)
	if err != nil {
		return nil, err
	}
	return redisstore.New(o), nil
}

func (n *node) bookmarks(log chat.Broker) bookmarks.Store {
	if n.store == nil {
		return memstore.NewBookmarks(log)
	}
	return redisstore.Bookmarks{Store: n.store}
}

func (n *node) tickets() gateway.Tickets {
	if n.store == nil {
		return memstore.NewTickets()
	}
	return redisstore.Tickets{Store: n.store}
}

// modules are those whose commands this node answers.
func (n *node) modules() map[string]session.Module {
	all := make(map[string]session.Module)
	if n.config.Serves(friends.Name) {
		all[friends.Name] = n.friends
	}
	return all
}

func newJWT(c config.Config) (*auth.JWT, error) {
	return auth.NewJWT(auth.Options{
		SecretFile: c.Auth.SecretFile, KeyFile: c.Auth.KeyFile, JWKSURL: c.Auth.JWKSURL,
		Algorithms: c.Auth.Algorithms, Issuer: c.Auth.Issuer, Audience: c.Auth.Audience,
		Leeway: c.Auth.Leeway, MaxLife: c.Auth.MaxLife, OpenRooms: c.Auth.OpenRooms,
	})
}

// maxStrikes is how many frames in a row may be no command.
const maxStrikes = 3

func gatewayOptions(c config.Config) gateway.Options {
	return gateway.Options{
		Shard: c.APPID, MaxConnections: c.Gateway.MaxConnections, SocketsPerUser: c.Gateway.SocketsPerUser,
		Handshakes: c.Gateway.Handshakes, HandshakeBurst: c.Gateway.HandshakeBurst,
		MaxMessage: c.Gateway.MaxMessage,
		ReadBuffer: c.Gateway.ReadBuffer, Ping: c.Gateway.Ping, PongTimeout: c.Gateway.PongTimeout,
		WriteTimeout: c.Gateway.WriteTimeout, Origins: c.Gateway.Origins,
		UserRates: session.Rates{Messages: c.User.Messages, Bytes: c.User.Bytes, Burst: c.Session.Burst},
		Friends:   c.Serves("friends"),
		Session: session.Limits{
			InboxOnly: !c.Serves("chat"),
			Outbox:    c.Session.Outbox, Rooms: c.Session.Rooms, UserRooms: c.User.Rooms, RoomList: c.User.RoomList,
			CommandTimeout: c.Session.CommandTimeout, Strikes: maxStrikes,
			Rates:  session.Rates{Messages: c.Session.Messages, Bytes: c.Session.Bytes, Burst: c.Session.Burst},
			Frames: c.Session.Frames, SignalEvery: c.Session.SignalEvery,
		},
	}
}

// newServer bounds what a client may take before it has said what it wants.
// When the process can open no more files, its accept loop waits, longer each
// time, up to a second (net/http).
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug), // what clients do wrong
	}
}

func newLogger(c config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked by config
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readableDurations}
	if c.Log.Format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}

// readableDurations prints durations as "2.5s"; JSON would have nanoseconds.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// warn says loudly what must not be overlooked.
func warn(c config.Config) {
	if c.Auth.Mode == "dev" {
		slog.Warn("AUTH MODE IS DEV: everybody is who they say they are; never use it where strangers can connect")
	}
	if unknown := config.UnknownEnv(); len(unknown) > 0 {
		slog.Warn("environment variables that no setting has", "names", unknown)
	}
}
