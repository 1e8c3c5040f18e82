package friends

import (
	"context"
	"errors"
	"fmt"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A Status is whether a user is there, as friends see it.
type Status string

const (
	Online  Status = "online"
	Away    Status = "away" // there, and has said to be away
	Offline Status = "offline"
)

// A Change is what becomes of a pair.
type Change struct {
	User, Other chat.UserID
	From, To    Pair
	Limits
}

// Limits are how much a user's list may hold.
type Limits struct {
	// Max is how many friends and requests made a user may have together, so that
	// a request that is accepted has its place; and how many users it may block.
	Max int
	// Pending is how many requests made may be open, and how many received.
	Pending int
}

// Errors of a Store that callers switch on. All others wrap chat.ErrUnavailable.
var (
	// ErrChanged says that a pair is no longer as the change has it.
	ErrChanged = errors.New("somebody else was quicker")
	// ErrFull says that the acting user's own list has no place.
	ErrFull = errors.New("the list is full")
)

// Whose lists are full of what, in one word each behind ErrFull.
var (
	ErrFullOfFriends  = fmt.Errorf("%w: friends", ErrFull)
	ErrFullOfRequests = fmt.Errorf("%w: requests", ErrFull)
	ErrFullOfBlocked  = fmt.Errorf("%w: blocked", ErrFull)
)

// A Store keeps who stands how to whom, and what was last said of who is there,
// for all nodes. A user is there when some node hears its inbox. All methods may be
// called concurrently.
//
// What changes for a user, that user's inbox hears as a protocol.Friend, if anybody
// listens to it. Told is to how many inboxes something was said.
type Store interface {
	// Pair returns how a user and another one stand to each other.
	Pair(ctx context.Context, user, other chat.UserID) (Pair, error)
	// Swap changes both sides or neither, and returns the pair as it is after that.
	// Where the other one has no place for an Asked, Theirs stays as it was. The
	// error is ErrChanged, one of the ErrFull, or ErrUnavailable.
	Swap(ctx context.Context, c Change) (Pair, error)
	// List returns all to whom a user stands in some way, in no order, of friends
	// with their status; and the user's own status, as friends see it.
	List(ctx context.Context, user chat.UserID) (list []protocol.Friend, own Status, err error)

	// Say notes what a user has said of its status, Online or Away, and tells
	// friends if that is another one. It says whether the user is there; if not,
	// nothing is noted.
	Say(ctx context.Context, user chat.UserID, s Status) (there bool, told int, err error)
	// Look notes for each user whether it is there on this node, which is of this
	// name, finds out whether it is there at all, and tells friends if that is news.
	Look(ctx context.Context, node string, at []Sight) ([]News, error)
	// Dead returns the names of nodes that have users noted and do not live any more.
	Dead(ctx context.Context) (nodes []string, err error)
	// TakeOver is Look for some of the users noted for a node that is dead. Each user
	// is taken by one caller only. More says that there are others left.
	TakeOver(ctx context.Context, node string) (found []News, more bool, err error)
}

// A Sight is that a user is there on a node, or not any more.
type Sight struct {
	User chat.UserID
	Here bool
}

// News is what a look at a user has found.
type News struct {
	Changed bool // the status, since it was last told
	Told    int
}
