// Package friends is the friend list: who stands how to whom, who of them is
// there, and who is told when that changes. It knows neither Redis nor sockets: a
// Store keeps what there is, and inboxes carry what is said.
//
// One rule keeps privacy: what a user is answered, and what becomes of its own side,
// never depends on whether the other one has blocked it, has declined, or exists.
//
// Locks: lookout.mu is held for lines, never across a call of the Store.
package friends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// Name is the module's: its commands are "friends.list" and so on.
const Name = "friends"

// Options are the module's knobs.
type Options struct {
	Limits
	// Grace is how long a user may be gone before friends are told.
	Grace time.Duration
	// Strangers may write to a user's direct room, unless one of both has blocked
	// the other.
	Strangers bool
}

// A Poster appends to any room. The hub is one.
type Poster interface {
	Post(ctx context.Context, d chat.Draft) (chat.Publication, error)
}

// A Bridge is how other nodes know this one.
type Bridge interface {
	// Channel is the name of this node's connection to the others, which other
	// nodes see end with it; empty while there is none.
	Channel() string
	// Hears says whether others may still believe that this node hears a room.
	Hears(chat.RoomID) bool
}

// Friends is the module. All methods may be called concurrently.
type Friends struct {
	// Static after construction.
	store   Store
	options Options
	count   *metrics.Friends
	lookout *lookout
	notices *notices
}

// New builds the module. It answers commands at once; the rest is done by Run.
func New(store Store, post Poster, node Bridge, o Options, count *metrics.Friends) *Friends {
	return &Friends{
		store: store, options: o, count: count,
		lookout: newLookout(store, node, o.Grace, count),
		notices: newNotices(post, count),
	}
}

// Run tells friends who comes and goes until ctx ends.
func (f *Friends) Run(ctx context.Context) error {
	defer f.notices.run(ctx)()
	f.lookout.run(ctx)
	return nil
}

// Occupied hears that somebody is in a room on this node, or nobody any more. Of
// inboxes, that says whether their owner is there. It does not block.
func (f *Friends) Occupied(room chat.RoomID, occupied bool) {
	if user, inbox := room.Owner(); inbox {
		f.lookout.saw(user, occupied)
	}
}

var (
	errNoRequest = &protocol.Error{Code: protocol.NoRequest, Message: "this user has not asked you, or has taken it back: see friends.list"}
	errBlocked   = &protocol.Error{Code: protocol.Forbidden, Message: "you have blocked this user: friends.unblock comes first"}
	errSelf      = &protocol.Error{Code: protocol.BadRequest, Message: `"user" must be somebody else`}
	errNotThere  = &protocol.Error{Code: protocol.NotJoined, Message: "join your inbox first: nobody sees you without it"}
	errMayNot    = &protocol.Error{Code: protocol.Forbidden, Message: "you may not write to this user"}
	errUnknown   = &protocol.Error{Code: protocol.UnknownCommand, Message: "commands of friends are list, request, accept, decline, remove, block, unblock and status"}
)

// full says of which part of a user's own list there is too much.
var full = map[error]string{
	ErrFullOfFriends:  "you have as many friends and open requests as one may: remove one first",
	ErrFullOfRequests: "as many of your requests are open as may be: remove one first",
	ErrFullOfBlocked:  "you have blocked as many as one may: unblock one first",
}

// arguments are the fields of all commands.
type arguments struct {
	User   *string `json:"user"`
	State  *State  `json:"state"`
	Status *Status `json:"status"`
}

// Do implements session.Module.
func (f *Friends) Do(ctx context.Context, by session.Caller, verb string, args []byte) (any, error) {
	var a arguments
	if err := json.Unmarshal(args, &a); err != nil {
		return nil, &protocol.Error{Code: protocol.BadRequest, Message: `"user", "state" and "status" must be strings`}
	}
	switch v := Verb(verb); v {
	case "list":
		return f.list(ctx, by.User, a)
	case "status":
		return f.say(ctx, by.User, a)
	case Request, Accept, Decline, Remove, Block, Unblock:
		return f.act(ctx, by.User, v, a)
	}
	return nil, errUnknown
}

// Dear implements session.Module: the whole list is looked at.
func (f *Friends) Dear(verb string) bool { return verb == "list" || verb == "status" }

// listed is the answer to list.
type listed struct {
	Friends []protocol.Friend `json:"friends"`
	Status  Status            `json:"status"` // the user's own
}

// list answers with all to whom the user stands in some way, but for those that it
// has blocked, or with those of one state; and with the user's own status.
func (f *Friends) list(ctx context.Context, user chat.UserID, a arguments) (any, error) {
	if a.State != nil && !slices.Contains([]State{Requested, Asked, Friend, Blocked}, *a.State) {
		return nil, &protocol.Error{Code: protocol.BadRequest, Message: `"state" must be requested, asked, friend or blocked`}
	}
	all, own, err := f.store.List(ctx, user)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o protocol.Friend) bool {
		if a.State != nil {
			return o.State != string(*a.State)
		}
		return o.State == string(Blocked)
	})
	slices.SortFunc(all, func(a, b protocol.Friend) int { return strings.Compare(string(a.User), string(b.User)) })
	return listed{append([]protocol.Friend{}, all...), own}, nil
}

// say notes what the user says of itself.
func (f *Friends) say(ctx context.Context, user chat.UserID, a arguments) (any, error) {
	if a.Status == nil || *a.Status != Online && *a.Status != Away {
		return nil, &protocol.Error{Code: protocol.BadRequest, Message: `"status" must be online or away`}
	}
	there, told, err := f.store.Say(ctx, user, *a.Status)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, errNotThere
	}
	f.count.Announced.Add(float64(told))
	return struct {
		Status Status `json:"status"`
	}{*a.Status}, nil
}

// tries is how often a change is tried anew when somebody else was quicker. With
// two in a pair, a second time is rare.
const tries = 8

// act does what a user wants about another one, and answers with how they stand.
func (f *Friends) act(ctx context.Context, user chat.UserID, v Verb, a arguments) (any, error) {
	if a.User == nil {
		return nil, &protocol.Error{Code: protocol.BadRequest, Message: `"user" is missing`}
	}
	other, err := chat.ParseUser(*a.User)
	if err != nil {
		return nil, &protocol.Error{Code: protocol.BadRequest, Message: `"user": ` + err.Error()}
	}
	if other == user {
		return nil, errSelf
	}
	for range tries {
		is, err := f.change(ctx, user, other, v)
		if !errors.Is(err, ErrChanged) {
			return protocol.Friend{User: other, State: string(is.Mine)}, explain(err)
		}
	}
	return nil, fmt.Errorf("%s %s: %w", v, other, chat.ErrUnavailable)
}

// change does it once.
func (f *Friends) change(ctx context.Context, user, other chat.UserID, v Verb) (Pair, error) {
	was, err := f.store.Pair(ctx, user, other)
	if err != nil {
		return was, err
	}
	is, err := next(v, was)
	if err != nil || is == was {
		return is, err
	}
	if is, err = f.store.Swap(ctx, Change{User: user, Other: other, From: was, To: is, Limits: f.options.Limits}); err != nil {
		return was, err
	}
	if is.Theirs != was.Theirs {
		f.notices.tell(user, other, is.Theirs)
	}
	return is, nil
}

func explain(err error) error {
	if message, ok := full[err]; ok {
		return &protocol.Error{Code: protocol.ListFull, Message: message}
	}
	return err
}

// MayWrite returns nil, or what to tell a user who may not write to another one:
// the same, whatever the reason is.
func (f *Friends) MayWrite(ctx context.Context, from, to chat.UserID) error {
	p, err := f.store.Pair(ctx, from, to)
	if err != nil {
		return err
	}
	if p.Mine == Friend || f.options.Strangers && p.Mine != Blocked && p.Theirs != Blocked {
		return nil
	}
	return errMayNot
}

// MayName returns nil if a user may call another one's attention to a room that both
// are in: if neither has blocked the other, friends or not.
func (f *Friends) MayName(ctx context.Context, from, to chat.UserID) error {
	p, err := f.store.Pair(ctx, from, to)
	if err == nil && (p.Mine == Blocked || p.Theirs == Blocked) {
		err = errMayNot
	}
	return err
}
