// Package chat is what the cluster is about: rooms, users, drafts,
// publications and their positions, and the Broker that keeps and carries
// them. It knows no network, no wire format and no storage, and it imports
// nothing of ours.
package chat

import (
	"errors"
	"hash/maphash"
	"time"
)

// A Draft is what a member wants said in a room, before it has a position.
type Draft struct {
	Room RoomID
	From UserID
	// Key names this draft among those of its sender: sending it again under
	// the same key has no further effect. Checked by ParseKey; never empty
	// when it reaches a Broker.
	Key string
	// Body is one JSON value without line breaks, already checked.
	Body []byte
	// About is what the draft refers to: empty, or one compact JSON object without
	// spaces, already checked.
	About string
}

// A Publication is a draft that the log has accepted. It exists from the
// moment that the broker has given it a position, and never changes.
type Publication struct {
	Draft
	Position
	// At is the broker's clock, to the millisecond, so that all nodes show
	// the same time whatever their own clocks say.
	At time.Time
	// Prev is the Mark of the publication before it in the log, zero if there
	// was none. It is known only if Linked: where a log that has lost its tail
	// could be taken for one that goes on.
	Prev   Mark
	Linked bool
}

// A Mark tells a publication from another one that a log which has lost its
// tail has given the same position. Marks mean nothing to other processes.
type Mark uint64

var markSeed = maphash.MakeSeed()

// MarkOf returns the mark of what was appended at a time under a key.
func MarkOf(at time.Time, key string) Mark {
	var h maphash.Hash
	h.SetSeed(markSeed)
	maphash.WriteComparable(&h, at.UnixMilli())
	_, _ = h.WriteString(key)
	return Mark(h.Sum64() | 1) // never zero
}

// Mark returns the publication's own.
func (p Publication) Mark() Mark { return MarkOf(p.At, p.Key) }

// Errors that callers switch on. Everything else that a Broker returns is a
// fault of the system and means ErrUnavailable to a client.
var (
	// ErrUnavailable says that the log or the bridge cannot be reached for
	// the moment: try again.
	ErrUnavailable = errors.New("the log is unavailable")
	// ErrConflict says that the sender has used this key in this room for
	// another body, or about something else.
	ErrConflict = errors.New("the key was used for another body")
	// ErrDeleted says that what the draft changes has been deleted.
	ErrDeleted = errors.New("what it refers to has been deleted")
	// ErrRewound says that the log ends before what this node has seen of it:
	// it has lost its tail.
	ErrRewound = errors.New("the log has lost its tail")
)
