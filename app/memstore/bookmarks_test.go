package memstore_test

import (
	"testing"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/memstore"
)

// The lists in memory do what every store of bookmarks must do.
func TestBookmarks(t *testing.T) {
	chattest.TestBookmarks(t, func(*testing.T) (bookmarks.Store, chat.Broker) {
		log := membroker.New().Node("1111")
		return memstore.NewBookmarks(log), log
	})
}
