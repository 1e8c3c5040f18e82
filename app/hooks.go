package main

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/hooks"
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

// A teller tells the application what happens.
type teller struct {
	occupancy *hooks.Occupancy
	queue     func(context.Context) error // has what waits delivered
}

func (t *teller) run(ctx context.Context) error {
	var parts errgroup.Group
	parts.Go(func() error { return t.occupancy.Run(ctx) })
	parts.Go(func() error { return t.queue(ctx) })
	return parts.Wait()
}

const (
	// vacancyGrace is how long nobody may hear a room, with no word of it, before
	// it is vacated: longer than a broken connection to Redis takes to come back.
	vacancyGrace = 5 * time.Second
	// setAside is how many events are kept that were not delivered.
	setAside = 10_000
)

// tellApplication has the application told what it wants to be told.
func (n *node) tellApplication() error {
	c, h := n.config, n.config.Hooks
	if h.WebhookURL == "" {
		return nil
	}
	w, err := hooks.NewWebhooks(hooks.WebhookOptions{
		URL: h.WebhookURL, SecretFile: h.SecretFile, Concurrency: h.Concurrency, Events: h.Events,
	}, &n.count.Hooks)
	if err != nil {
		return err
	}
	n.teller = &teller{}
	var directory hooks.Directory
	if n.store == nil {
		queue := hooks.NewMemory(h.Backlog)
		n.teller.queue = func(ctx context.Context) error { return queue.Run(ctx, w.Handle) }
		n.count.WatchWebhooks(queue.Backlog)
		directory = &hooks.Here{Tell: queue.Add}
	} else {
		queue := n.store.Queue(redisstore.QueueOptions{
			Name: redisstore.WebhooksName, Consumer: c.APPID + "-" + strings.ToLower(rand.Text()[:8]),
			Handle: w.Handle, Lanes: hooks.Lanes, InFlight: h.Concurrency, Lease: 2 * hooks.HandleWithin,
			Longest: 256<<10 + 2*c.Gateway.MaxMessage, Kept: setAside,
		})
		n.teller.queue = queue.Run
		n.count.WatchWebhooks(func() int {
			s := queue.Stats()
			return s.Waiting + s.Pending
		})
		directory = redisstore.Hooks{Store: n.store, Backlog: h.Backlog, Grace: vacancyGrace}
	}
	n.teller.occupancy = hooks.NewOccupancy(directory,
		c.Tells(hooks.RoomOccupied) || c.Tells(hooks.RoomVacated),
		c.Tells(hooks.UserOnline) || c.Tells(hooks.UserOffline), c.Friends.Grace)
	return nil
}

// occupied tells whoever minds that somebody is in a room on this node, or nobody
// any more.
func (n *node) occupied(room chat.RoomID, occupied bool) {
	n.friends.Occupied(room, occupied)
	if n.teller != nil {
		n.teller.occupancy.Occupied(room, occupied)
	}
}
