package memstore_test

import (
	"sync"
	"testing"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friendstest"
	"github.com/chatring/chatring/app/memstore"
	"github.com/chatring/chatring/app/protocol"
)

// A world is a store whose inboxes are heard by whoever is said to be there.
type world struct {
	*memstore.Friends

	mu    sync.Mutex
	there map[chat.RoomID]bool
	heard map[chat.RoomID][]string
}

func (w *world) nodes(inbox chat.RoomID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.there[inbox] {
		return 1
	}
	return 0
}

func (w *world) tell(inbox chat.RoomID, push protocol.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard[inbox] = append(w.heard[inbox], string(push.JSON()))
}

func (w *world) set(u chat.UserID, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.there[chat.Inbox(u)] = there
}

func (w *world) Come(u chat.UserID) { w.set(u, true) }
func (w *world) Go(u chat.UserID)   { w.set(u, false) }

func (w *world) Heard(u chat.UserID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := w.heard[chat.Inbox(u)]
	delete(w.heard, chat.Inbox(u))
	return heard
}

// The store in memory does what every store must do.
func TestFriends(t *testing.T) {
	friendstest.Test(t, func(*testing.T) friendstest.World {
		w := &world{there: map[chat.RoomID]bool{}, heard: map[chat.RoomID][]string{}}
		w.Friends = memstore.NewFriends(w.nodes, w.tell)
		return w
	})
}
