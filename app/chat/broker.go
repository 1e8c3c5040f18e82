package chat

import "context"

// A Broker is one node's way to the log of every room and to the bridge
// between nodes. All methods may be called concurrently. Those with a context
// end with it; errors that are not named are reported as ErrUnavailable,
// wrapped with what happened.
type Broker interface {
	// Run connects the bridge, feeds the sink, and heals the connection until
	// ctx ends; it returns nil then. Run is called once, before anything else
	// is expected to work.
	Run(ctx context.Context, sink Sink) error

	// Open makes this node hear room. From its return on, each publication
	// and each signal of another node reaches the sink, or the sink is told
	// by Resumed that it may have missed some. Open waits for the broker's
	// confirmation, so that a read that follows leaves no hole.
	Open(ctx context.Context, room RoomID) error

	// Close makes this node deaf to room. It never blocks and cannot fail; a
	// later Open takes effect after it.
	Close(room RoomID)

	// Append gives the draft its position. Seen is the highest position that
	// this node has witnessed in the room: when the log ends before it, the
	// log has lost its tail, nothing is appended, and the error is ErrRewound.
	// A draft whose key was seen from this sender answers the first
	// publication's position again; with another body, or about something
	// else, it is ErrConflict. A draft that edits or deletes what has been
	// deleted is ErrDeleted.
	Append(ctx context.Context, d Draft, seen Position) (Publication, error)

	// Restore is Append for a node that knows of the loss: when the log ends
	// before seen, a new epoch begins with p. Its position is given anew; its
	// time, unless zero, stays, and then what it changes may have been deleted,
	// and stays so.
	Restore(ctx context.Context, p Publication, seen Position) (Publication, error)

	// ReadAfter returns at most limit publications that follow a position,
	// oldest first.
	ReadAfter(ctx context.Context, room RoomID, after Position, limit int) ([]Publication, error)

	// ReadBefore returns at most limit publications that stand before a
	// position (the zero Position: the newest ones), oldest first.
	ReadBefore(ctx context.Context, room RoomID, before Position, limit int) ([]Publication, error)

	// Tails returns the last publication of each room, in the order asked; the
	// zero Position for a room without a log. Of an entry that is no
	// publication it returns the position alone.
	Tails(ctx context.Context, rooms []RoomID) ([]Publication, error)

	// Changes returns what has become of publications of a room, in the order
	// asked: of each message its last edit, if it has not been deleted; of
	// those that edit what was deleted, the deletion. What the log has trimmed
	// with the message may be forgotten.
	Changes(ctx context.Context, room RoomID, of []Publication) ([]Change, error)
	// Description returns the last description of a room, zero if there is
	// none. It lives as long as the log does.
	Description(ctx context.Context, room RoomID) (Change, error)
	// Signal lets the sinks of the other nodes that have opened the room hear
	// body now; it is kept nowhere. Signals may be lost.
	Signal(ctx context.Context, room RoomID, body []byte) error

	// Ask puts a question to the other nodes that have opened the room and
	// collects their answers. Complete is false when a node that was asked
	// did not answer before ctx ended, which is not an error.
	Ask(ctx context.Context, room RoomID, question []byte) (answers [][]byte, complete bool, err error)

	// Check returns nil when the log answers.
	Check(ctx context.Context) error
}

// A Sink hears what other nodes say in the rooms that this node has opened.
// Its methods are called from one goroutine, in the order heard, and must not
// block.
type Sink interface {
	// Publication hears a publication, perhaps again, perhaps one that this
	// node appended itself, perhaps after a hole.
	Publication(p Publication)
	// Signal hears what another node sent by Signal.
	Signal(room RoomID, body []byte)
	// Answer answers another node's question about a room.
	Answer(room RoomID, question []byte) []byte
	// Resumed says that the bridge was interrupted and works again: of every
	// open room something may have been missed.
	Resumed()
}
