package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/config"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/redisstore"
)

// askApplication has the application asked what it wants to be asked.
func (n *node) askApplication(o *gateway.Options) error {
	h := n.config.Hooks
	if h.ConnectURL == "" && h.JoinURL == "" && h.PublishURL == "" {
		return nil
	}
	a, err := hooks.NewAuthorizer(hooks.AuthorizerOptions{
		ConnectURL: h.ConnectURL, JoinURL: h.JoinURL, PublishURL: h.PublishURL,
		Timeout: h.Timeout, Concurrency: h.Concurrency, AllowOnFailure: h.OnFailure == "allow",
		MaxData: n.config.Gateway.MaxMessage, SecretFile: h.SecretFile,
	}, &n.count.Hooks)
	if err != nil {
		return err
	}
	if h.ConnectURL != "" {
		o.Authorizer = a
	}
	if h.JoinURL != "" || h.PublishURL != "" {
		o.Session.Authorizer = a
	}
	return nil
}

// published returns whether the application is told what is said in a room; nil:
// nothing is told.
func published(c config.Config) (func(chat.RoomID) bool, error) {
	if c.Hooks.WebhookURL == "" || !c.Tells(hooks.MessagePublished) {
		return nil, nil
	}
	among, err := auth.Among(c.Hooks.Rooms)
	if err != nil {
		return nil, fmt.Errorf("hooks.rooms: %w", err)
	}
	return func(room chat.RoomID) bool {
		_, inbox := room.Owner()
		return !inbox && !cluster.Owns(room) && among(room)
	}, nil
}

// A teller tells the application what happens.
type teller struct {
	occupancy *hooks.Occupancy
	deliver   func(context.Context) error   // what waits
	tell      func(event map[string]string) // in memory
}

func (t *teller) run(ctx context.Context) error {
	var parts errgroup.Group
	parts.Go(func() error { return t.occupancy.Run(ctx) })
	parts.Go(func() error { return t.deliver(ctx) })
	return parts.Wait()
}

const (
	// vacancyGrace is how long nobody may hear a room, with no word of it, before
	// it is vacated: longer than a broken connection to Redis takes to come back.
	vacancyGrace = 5 * time.Second
	// waitsHere is how many events a node has for each that it delivers: so many
	// wait behind one that the application refuses before those of other rooms do.
	waitsHere = 16
	// setAside is how many events are kept that were not delivered.
	setAside = 10_000
)

// tellApplication has the application told what it wants to be told. It returns
// the broker to use from then on.
func (n *node) tellApplication(broker chat.Broker) (chat.Broker, error) {
	c, h := n.config, n.config.Hooks
	if h.WebhookURL == "" {
		return broker, nil
	}
	tells, err := published(c)
	if err != nil {
		return nil, err
	}
	w, err := hooks.NewWebhooks(hooks.WebhookOptions{
		URL: h.WebhookURL, SecretFile: h.SecretFile, Concurrency: h.Concurrency, Events: h.Events,
	}, &n.count.Hooks)
	if err != nil {
		return nil, err
	}
	n.teller = &teller{}
	directory := n.queueOnRedis
	if n.store == nil {
		directory = n.queueInMemory
		if tells != nil {
			broker = tellingBroker{broker, tells, n.teller}
		}
	}
	n.teller.occupancy = hooks.NewOccupancy(directory(w),
		c.Tells(hooks.RoomOccupied) || c.Tells(hooks.RoomVacated),
		c.Tells(hooks.UserOnline) || c.Tells(hooks.UserOffline), c.Friends.Grace)
	return broker, nil
}

// queueOnRedis has what waits on Redis delivered by one node at a time.
func (n *node) queueOnRedis(w *hooks.Webhooks) hooks.Directory {
	c := n.config
	queue := n.store.Queue(redisstore.QueueOptions{
		Name: redisstore.WebhooksName, Node: c.APPID, Handle: w.Handle, Lanes: hooks.Lanes, Poison: hooks.ErrHopeless,
		InFlight: waitsHere * c.Hooks.Concurrency, AtOnce: c.Hooks.Concurrency, Lease: 2 * hooks.HandleWithin, Kept: setAside,
		Longest:  256<<10 + 2*c.Gateway.MaxMessage,
		Attempts: 1000, // it is Handle that gives up: an event is not what nodes die of
	})
	n.teller.deliver = queue.Run
	n.count.WatchQueue(redisstore.WebhooksName, func() metrics.Queue { return metrics.Queue(queue.Stats()) })
	return redisstore.Hooks{Store: n.store, Backlog: c.Hooks.Backlog, Grace: vacancyGrace}
}

// queueInMemory has delivered what this process is told.
func (n *node) queueInMemory(w *hooks.Webhooks) hooks.Directory {
	queue := hooks.NewMemory(n.config.Hooks.Backlog)
	n.teller.deliver = func(ctx context.Context) error { return queue.Run(ctx, w.Handle) }
	n.teller.tell = queue.Add
	n.count.WatchQueue(redisstore.WebhooksName, func() metrics.Queue { return metrics.Queue{Waiting: queue.Backlog(), Reading: true} })
	return &hooks.Here{Tell: queue.Add}
}

// A tellingBroker tells the application of what is said, in one process. On Redis
// it is the script that does, in one step with the append.
type tellingBroker struct {
	chat.Broker
	tells  func(chat.RoomID) bool
	teller *teller
}

func (b tellingBroker) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	p, err := b.Broker.Append(ctx, d, seen)
	if err == nil && b.tells(d.Room) {
		b.teller.tell(map[string]string{
			"type": hooks.MessagePublished, "room": string(d.Room), "pos": p.Position.String(), "at": strconv.FormatInt(p.At.UnixMilli(), 10),
			"from": string(d.From), "key": d.Key, "about": d.About, "body": string(d.Body),
		})
	}
	return p, err
}

// occupied tells whoever minds that somebody is in a room on this node, or nobody
// any more.
func (n *node) occupied(room chat.RoomID, occupied bool) {
	n.friends.Occupied(room, occupied)
	if n.teller != nil {
		n.teller.occupancy.Occupied(room, occupied)
	}
}
