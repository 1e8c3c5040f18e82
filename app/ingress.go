package main

import (
	"github.com/chatring/chatring/app/ingress"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/redisstore"
)

// usersBytes is what the longest list of users takes in an entry, roughly, beside
// what it says.
const usersBytes = 256 << 10

// openIngress lets the node say what backends write into a stream.
func (n *node) openIngress() {
	c := n.config
	if n.store == nil || !c.Ingress.Enabled {
		return
	}
	in := ingress.New(n.hub, c.Gateway.MaxMessage)
	n.ingress = n.store.Queue(redisstore.QueueOptions{
		Name: "ingress", Node: c.APPID, Handle: in.Handle, Lanes: in.Lanes, Poison: ingress.ErrPoison,
		InFlight: c.Ingress.Batch, Longest: c.Gateway.MaxMessage + usersBytes,
		Attempts: c.Ingress.Attempts, Lease: c.Ingress.ClaimAfter,
	})
	n.count.WatchQueue("ingress", func() metrics.Queue { return metrics.Queue(n.ingress.Stats()) })
}
