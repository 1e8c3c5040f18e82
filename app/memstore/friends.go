package memstore

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/protocol"
)

// Friends is the friend list of one process. It implements friends.Store; nodes do
// not die before it does, so there is nothing to take over.
//
// Lock order: mu before what nodes and tell lock.
type Friends struct {
	// Static after construction.
	nodes func(inbox chat.RoomID) int                  // how many hear it
	tell  func(inbox chat.RoomID, push protocol.Frame) // lets them hear

	// Guarded by mu.
	mu    sync.Mutex
	users map[chat.UserID]*person
}

// A person is what is kept of a user.
type person struct {
	others map[chat.UserID]friends.State // without None
	told   friends.Status                // what friends were told last; "" stands for Offline
	seen   int64                         // in milliseconds; 0: it is not known
}

// NewFriends returns an empty store. Nodes says how many nodes hear an inbox, and
// tell lets them hear a push.
func NewFriends(nodes func(chat.RoomID) int, tell func(chat.RoomID, protocol.Frame)) *Friends {
	return &Friends{nodes: nodes, tell: tell, users: make(map[chat.UserID]*person)}
}

// of returns what is kept of a user. The lock is held.
func (f *Friends) of(u chat.UserID) *person {
	p := f.users[u]
	if p == nil {
		p = &person{others: make(map[chat.UserID]friends.State)}
		f.users[u] = p
	}
	return p
}

// forget drops a user of whom nothing is kept. The lock is held.
func (f *Friends) forget(u chat.UserID) {
	if p := f.users[u]; p != nil && len(p.others) == 0 && p.told == "" {
		delete(f.users, u)
	}
}

func (p *person) state(other chat.UserID) friends.State {
	if s, ok := p.others[other]; ok {
		return s
	}
	return friends.None
}

func (p *person) count(states ...friends.State) (n int) {
	for _, has := range p.others {
		for _, s := range states {
			if has == s {
				n++
			}
		}
	}
	return n
}

func (f *Friends) there(u chat.UserID) bool { return f.nodes(chat.Inbox(u)) > 0 }

// status says how a friend is seen. The lock is held.
func (f *Friends) status(u chat.UserID) (friends.Status, int64) {
	p := f.of(u)
	defer f.forget(u)
	switch {
	case !f.there(u):
		return friends.Offline, p.seen
	case p.told == friends.Away:
		return friends.Away, 0
	}
	return friends.Online, 0
}

// Pair implements friends.Store.
func (f *Friends) Pair(_ context.Context, user, other chat.UserID) (friends.Pair, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pair(user, other), nil
}

func (f *Friends) pair(user, other chat.UserID) friends.Pair {
	defer f.forget(user)
	defer f.forget(other)
	return friends.Pair{Mine: f.of(user).state(other), Theirs: f.of(other).state(user)}
}

// Swap implements friends.Store.
func (f *Friends) Swap(_ context.Context, c friends.Change) (friends.Pair, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, is := f.pair(c.User, c.Other), c.To
	if was == is {
		return is, nil
	}
	if was != c.From {
		return was, friends.ErrChanged
	}
	if is.Mine != was.Mine {
		if err := f.of(c.User).room(is.Mine, c.Limits); err != nil {
			f.forget(c.User)
			return was, err
		}
	}
	if is.Theirs == friends.Asked && f.of(c.Other).count(friends.Asked) >= c.Pending {
		is.Theirs = was.Theirs
	}
	f.set(c.User, c.Other, is.Mine)
	f.set(c.Other, c.User, is.Theirs)
	if is.Mine != was.Mine {
		f.say(c.User, c.Other, is.Mine)
	}
	if is.Theirs != was.Theirs {
		f.say(c.Other, c.User, is.Theirs)
	}
	return is, nil
}

// room says whether a user's list has a place for another one.
func (p *person) room(s friends.State, most friends.Limits) error {
	switch {
	case s == friends.Blocked && p.count(friends.Blocked) >= most.Max:
		return friends.ErrFullOfBlocked
	case (s == friends.Friend || s == friends.Requested) && p.count(friends.Friend, friends.Requested) >= most.Max:
		return friends.ErrFullOfFriends
	case s == friends.Requested && p.count(friends.Requested) >= most.Pending:
		return friends.ErrFullOfRequests
	}
	return nil
}

func (f *Friends) set(user, other chat.UserID, s friends.State) {
	defer f.forget(user)
	if s == friends.None {
		delete(f.of(user).others, other)
	} else {
		f.of(user).others[other] = s
	}
}

// say lets a user hear how another one stands to it.
func (f *Friends) say(to, about chat.UserID, s friends.State) {
	if !f.there(to) {
		return
	}
	push := protocol.Friend{User: about, State: string(s)}
	if s == friends.Friend {
		status, seen := f.status(about)
		push.Status, push.LastSeen = string(status), seen
	}
	f.tell(chat.Inbox(to), push.Frame())
}

// List implements friends.Store.
func (f *Friends) List(_ context.Context, user chat.UserID) (list []protocol.Friend, own friends.Status, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.forget(user)
	for other, s := range maps.All(f.of(user).others) {
		o := protocol.Friend{User: other, State: string(s)}
		if s == friends.Friend {
			status, seen := f.status(other)
			o.Status, o.LastSeen = string(status), seen
		}
		list = append(list, o)
	}
	own, _ = f.status(user)
	return list, own, nil
}

// announce notes a user's status and lets friends hear it. The lock is held.
func (f *Friends) announce(u chat.UserID, s friends.Status) (told int) {
	p := f.of(u)
	defer f.forget(u)
	p.told = s
	push := protocol.Friend{User: u, State: string(friends.Friend), Status: string(s)}
	if s == friends.Offline {
		p.told = ""
		p.seen = time.Now().UnixMilli()
		push.LastSeen = p.seen
	}
	for other, state := range p.others {
		if state == friends.Friend && f.there(other) {
			f.tell(chat.Inbox(other), push.Frame())
			told++
		}
	}
	return told
}

// Say implements friends.Store.
func (f *Friends) Say(_ context.Context, user chat.UserID, s friends.Status) (there bool, told int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.there(user) {
		return false, 0, nil
	}
	if f.of(user).told != s {
		told = f.announce(user, s)
	}
	return true, told, nil
}

// Look implements friends.Store.
func (f *Friends) Look(_ context.Context, _ string, at []friends.Sight) ([]friends.News, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := make([]friends.News, len(at))
	for i, s := range at {
		there := f.there(s.User)
		if there == (f.of(s.User).told != "") {
			f.forget(s.User)
			continue
		}
		status := friends.Offline
		if there {
			status = friends.Online
		}
		found[i] = friends.News{Changed: true, Told: f.announce(s.User, status)}
	}
	return found, nil
}

// Dead implements friends.Store.
func (f *Friends) Dead(context.Context) ([]string, error) { return nil, nil }

// TakeOver implements friends.Store.
func (f *Friends) TakeOver(context.Context, string) ([]friends.News, bool, error) {
	return nil, false, nil
}
