package memstore

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/chatring/chatring/app/bookmarks"
	"github.com/chatring/chatring/app/chat"
)

// maxLists is how many users have a list. For a further one, some other user's is
// forgotten.
const maxLists = 10_000

// Bookmarks are the lists of all users. It implements bookmarks.Store.
type Bookmarks struct {
	log chat.Broker // what the rooms have said

	// Guarded by mu.
	mu    sync.Mutex
	lists map[chat.UserID]map[chat.RoomID]chat.Position
}

var _ bookmarks.Store = (*Bookmarks)(nil)

// NewBookmarks returns lists of rooms whose logs are in memory, too.
func NewBookmarks(log chat.Broker) *Bookmarks {
	return &Bookmarks{log: log, lists: make(map[chat.UserID]map[chat.RoomID]chat.Position)}
}

// Mark implements bookmarks.Store.
func (b *Bookmarks) Mark(ctx context.Context, user chat.UserID, room chat.RoomID, pos chat.Position, most int) (at chat.Position, moved bool, err error) {
	tails, err := b.log.Tails(ctx, []chat.RoomID{room})
	if err != nil {
		return at, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before, listed := b.lists[user][room]
	if at, err = bookmarks.Marked(before, pos, tails[0].Position); err != nil {
		return at, false, err
	}
	if !listed && len(b.lists[user]) >= most {
		return at, false, bookmarks.ErrFull
	}
	b.list(user)[room] = at
	return at, !listed || at != before, nil
}

// list returns the list of a user, who may have had none. The lock is held.
func (b *Bookmarks) list(user chat.UserID) map[chat.RoomID]chat.Position {
	if b.lists[user] == nil {
		for other := range b.lists {
			if len(b.lists) < maxLists {
				break
			}
			delete(b.lists, other)
		}
		b.lists[user] = make(map[chat.RoomID]chat.Position)
	}
	return b.lists[user]
}

// Add implements bookmarks.Store.
func (b *Bookmarks) Add(_ context.Context, room chat.RoomID, before chat.Position, read map[chat.UserID]chat.Position, most int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for user, pos := range read {
		marker, listed := b.lists[user][room]
		if listed && marker == before || !listed && len(b.lists[user]) < most {
			b.list(user)[room] = pos
		}
	}
	return nil
}

// List implements bookmarks.Store.
func (b *Bookmarks) List(ctx context.Context, user chat.UserID) ([]bookmarks.Bookmark, error) {
	b.mu.Lock()
	list := maps.Clone(b.lists[user])
	b.mu.Unlock()
	rooms := slices.Collect(maps.Keys(list))
	tails, err := b.log.Tails(ctx, rooms)
	if err != nil {
		return nil, err
	}
	all := make([]bookmarks.Bookmark, len(rooms))
	for i, room := range rooms {
		all[i] = bookmarks.Bookmark{Room: room, Read: list[room], Last: tails[i].Position, At: tails[i].At}
		behind, err := b.log.ReadAfter(ctx, room, list[room].Prev(), math.MaxInt)
		if err != nil {
			return nil, err
		}
		about, err := b.log.Description(ctx, room)
		if err != nil {
			return nil, err
		}
		all[i].Description = string(about.Body)
		count(&all[i], behind)
	}
	return all, nil
}

// count says of a bookmark what stands in the log from its marker on.
func count(b *bookmarks.Bookmark, log []chat.Publication) {
	if len(log) == 0 {
		return
	}
	first, last := log[0], log[len(log)-1]
	whole := first.Position == b.Read || first.Offset == 0 && b.Read.IsZero()
	b.AtMost = !whole || first.Epoch != last.Epoch
	for _, p := range log {
		about, _ := chat.ParseAbout(p.About) // it was appended
		if p.Position != b.Read && about.IsMessage() {
			b.Unread++
		}
	}
}

// Forget implements bookmarks.Store.
func (b *Bookmarks) Forget(_ context.Context, user chat.UserID, rooms ...chat.RoomID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, room := range rooms {
		delete(b.lists[user], room)
	}
	return nil
}

// Keepers implements bookmarks.Store.
func (b *Bookmarks) Keepers(_ context.Context, room chat.RoomID, users []chat.UserID) ([]chat.UserID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(users), func(user chat.UserID) bool {
		_, listed := b.lists[user][room]
		return !listed
	}), nil
}
