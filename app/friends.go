package main

import (
	"context"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/redisstore"
)

// connectFriends wires the friend list. Every node says which users it hears the
// inboxes of, also one that does not answer the module's commands.
func (n *node) connectFriends(broker chat.Broker) {
	var store friends.Store = memstore.NewFriends(n.hearers, n.hub.Whisper)
	var others friends.Bridge = noOthers{}
	if n.store != nil {
		store, others = redisstore.Friends{Store: n.store}, broker.(friends.Bridge)
	}
	c := n.config
	n.friends = friends.New(store, n.hub, others, friends.Options{
		Limits: friends.Limits{Max: c.Friends.Max, Pending: c.Friends.Pending},
		Grace:  c.Friends.Grace, Strangers: c.Direct.From == "anyone",
	}, &n.count.Friends)
}

// hearers returns how many nodes have sessions in a room.
func (n *node) hearers(room chat.RoomID) int {
	return len(n.hub.Reach(context.Background(), []chat.RoomID{room})[0].Nodes)
}

// noOthers is the bridge of a node that has no others.
type noOthers struct{}

func (noOthers) Channel() string        { return "memory" }
func (noOthers) Hears(chat.RoomID) bool { return false }
