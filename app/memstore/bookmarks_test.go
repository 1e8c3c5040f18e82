package memstore_test

import (
	"fmt"
	"testing"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
)

// What a log has lost to its retention is counted as far as it is there.
func TestTrimmedLogCountsAtMost(t *testing.T) {
	log := membroker.New(membroker.Retention(4)).Node("1111")
	store := memstore.NewBookmarks(log)
	for n := range 6 { // the log is trimmed a few at a time
		p, err := log.Append(t.Context(), chat.Draft{Room: "lobby", From: "bob", Key: fmt.Sprint(n), Body: []byte("1")}, chat.Position{})
		if err == nil && n == 0 {
			_, _, err = store.Mark(t.Context(), "alice", "lobby", p.Position, 1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := store.List(t.Context(), "alice")
	if err != nil || len(list) != 1 || list[0].Unread != 4 || !list[0].AtMost {
		t.Errorf("List = %+v, %v; want 4 unread at most", list, err)
	}
}

// For a user too many, another one's list is forgotten.
func TestListsAreBounded(t *testing.T) {
	store := memstore.NewBookmarks(membroker.New().Node("1111"))
	var users []chat.UserID
	for n := range 10_001 {
		users = append(users, chat.UserID(fmt.Sprint("user-", n)))
		if _, _, err := store.Mark(t.Context(), users[n], "lobby", chat.Position{}, 1); err != nil {
			t.Fatal(err)
		}
	}
	keepers, err := store.Keepers(t.Context(), "lobby", users)
	if err != nil || len(keepers) != 10_000 || keepers[9999] != users[10_000] {
		t.Errorf("%d users have a list, %v; want 10000, and the last one among them", len(keepers), err)
	}
}

// The lists in memory do what every store of bookmarks must do.
func TestBookmarks(t *testing.T) {
	chattest.TestBookmarks(t, func(*testing.T) (bookmarks.Store, chat.Broker) {
		log := membroker.New().Node("1111")
		return memstore.NewBookmarks(log), log
	})
}
