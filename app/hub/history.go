package hub

import (
	"context"
	"fmt"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A Range is a part of a room's log: what follows After, or, when After is
// nil, what stands before Before (the zero Position: the newest).
type Range struct {
	After  *chat.Position
	Before chat.Position
	Limit  int
}

// maxHistory is how many bytes one answer may have; at least one message is
// given.
const maxHistory = 128 << 10

// historyPart is how many publications are read from the log at once, since they
// may be long: what does not fit into an answer is read for nothing.
const historyPart = 32

// History returns messages of a room that this node serves, oldest first, and
// whether there are more in the direction asked. It comes from memory where
// the window reaches, else from the log. There may be fewer than asked for,
// when they are long.
func (h *Hub) History(ctx context.Context, id chat.RoomID, g Range) (messages []protocol.Frame, more bool, err error) {
	if r := h.lookup(id); r != nil {
		if found, more, known := r.recall(g); known {
			messages, more = g.fit(found, more)
			return messages, more, nil
		}
	}
	messages, err = h.read(ctx, id, g)
	if err != nil {
		return nil, false, fmt.Errorf("history of %s: %w", id, err)
	}
	if more = len(messages) > g.Limit; more {
		if g.After != nil {
			messages = messages[:g.Limit]
		} else {
			messages = messages[1:]
		}
	}
	messages, more = g.fit(messages, more)
	return messages, more, nil
}

// read returns messages of a range from the log, oldest first, until there is one
// more than its limit, or more than maxHistory, or none left.
func (h *Hub) read(ctx context.Context, id chat.RoomID, g Range) (found []protocol.Frame, err error) {
	for size, whole := 0, true; whole && len(found) <= g.Limit && size <= maxHistory; {
		limit := min(historyPart, g.Limit+1-len(found))
		var part []chat.Publication
		if g.After != nil {
			part, err = h.broker.ReadAfter(ctx, id, *g.After, limit)
		} else {
			part, err = h.broker.ReadBefore(ctx, id, g.Before, limit)
		}
		if err != nil {
			return nil, err
		}
		if whole = len(part) == limit; whole {
			g.Before = part[0].Position
			if g.After != nil {
				g.After = &part[limit-1].Position
			}
		}
		messages, err := h.latest(ctx, id, part)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			size += m.Size()
		}
		if g.After != nil {
			found = append(found, messages...)
		} else {
			found = append(messages, found...)
		}
	}
	return found, nil
}

// latest encodes publications of the log as what has become of them.
func (h *Hub) latest(ctx context.Context, id chat.RoomID, part []chat.Publication) ([]protocol.Frame, error) {
	if len(part) == 0 {
		return nil, nil
	}
	changes, err := h.broker.Changes(ctx, id, part)
	if err != nil {
		return nil, err
	}
	messages := make([]protocol.Frame, len(part))
	for i, p := range part {
		if changes[i].IsZero() {
			messages[i] = protocol.Message(p)
		} else {
			messages[i] = protocol.Changed(p, changes[i])
		}
	}
	return messages, nil
}

// fit leaves out what exceeds maxHistory, at the end that the range is not
// anchored to.
func (g Range) fit(messages []protocol.Frame, more bool) ([]protocol.Frame, bool) {
	size := 0
	for n := range messages {
		i := n
		if g.After == nil {
			i = len(messages) - 1 - n
		}
		if size += messages[i].Size(); size <= maxHistory || n == 0 {
			continue
		}
		if g.After == nil {
			return messages[i+1:], true
		}
		return messages[:i], true
	}
	return messages, more
}

// recall answers from the window; known is false when it cannot.
func (r *room) recall(g Range) (messages []protocol.Frame, more, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gate.open {
		return nil, false, false
	}
	var found []entry
	if g.After == nil {
		found, more, known = r.window.before(g.Before, g.Limit)
	} else if found, known = r.window.since(*g.After, r.gate.last); len(found) > g.Limit {
		found, more = found[:g.Limit], true
	}
	return frames(found), more, known
}

func frames(entries []entry) []protocol.Frame {
	frames := make([]protocol.Frame, len(entries))
	for i, e := range entries {
		frames[i] = e.now()
	}
	return frames
}
