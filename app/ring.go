package main

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/chatring/chatring/app/api"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/redisbroker"
	"github.com/chatring/chatring/app/ring"
	"github.com/chatring/chatring/app/web"
)

// newSelf makes what the node knows of itself. It comes before the parts, which tell it
// what happens.
func (n *node) newSelf() *ring.Self {
	o := ring.Options{
		AppID: n.config.APPID, Version: buildVersion(), Modules: n.config.Modules,
		Figures: n.figures, Draining: n.health.Draining, Room: n.local,
	}
	if n.config.Broker == "redis" {
		o.Check = n.health.Check
	}
	return ring.NewSelf(o)
}

// operators answers on the operators' port.
func (n *node) operators() http.Handler {
	asker := ring.NewAsker(n.self, ring.Peers{Nodes: n.config.Ring.Nodes, HAProxy: n.config.Ring.HAProxy, Door: n.config.Home.URL})
	mux := http.NewServeMux()
	mux.Handle("/", api.Operators(n.health, n.count, n.logout))
	mux.Handle("/ring/", asker.Handler(web.RingHandler()))
	return mux
}

// figures are the node's, without the rooms in which nodes are among themselves.
func (n *node) figures() metrics.Figures {
	f := n.count.Figures()
	for _, room := range cluster.Rooms() {
		if g, ok := n.hub.Look(room); ok {
			f.Rooms--
			f.Members -= g.Members
		}
	}
	return f
}

// local is what the live ring shows of a room on this node.
func (n *node) local(room chat.RoomID) (ring.Local, bool) {
	g, ok := n.hub.Look(room)
	return ring.Local{Members: g.Members, Watchers: g.Watchers, Position: g.Last.String(), Used: g.Used.UnixMilli()}, ok
}

// bridged hears that the bridge works, or what has broken it.
func (n *node) bridged(broken error) {
	switch {
	case broken == nil:
		n.self.Hears("")
	case errors.Is(broken, redisbroker.ErrLoss):
		n.self.Hears("it began anew, and may have lost data")
	default:
		n.self.Hears("the connection failed")
	}
}

// healed hears that a log had lost its tail.
func (n *node) healed(room chat.RoomID, restored int) {
	n.self.Note(ring.Event{Kind: ring.Healed, Room: room, Rooms: 1, Count: restored})
}

// away hears of rooms here that are at home elsewhere.
func (n *node) away(homes map[chat.RoomID]string) {
	for room, home := range homes {
		n.self.Note(ring.Event{Kind: ring.Split, Room: room, Rooms: 1, Why: home})
	}
}

// led hears that members were led home.
func (n *node) led(rooms map[chat.RoomID]bool, sockets int) {
	e := ring.Event{Kind: ring.LedHome, Rooms: len(rooms), Count: sockets}
	if len(rooms) > 0 {
		e.Room = slices.Min(slices.Collect(maps.Keys(rooms)))
	}
	n.self.Note(e)
}
