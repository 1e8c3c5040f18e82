package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/chatring/chatring/app/chat"
)

// append gives the draft its position and lets it through. If the log turns
// out to have lost its tail it is healed first, so that what it has lost comes
// before what is new. If it was healed meanwhile, nobody knows whether the
// draft went the way of the tail: its key finds out.
func (r *room) append(ctx context.Context, d chat.Draft) (chat.Publication, error) {
	begin := false
	for {
		seen, heals, err := r.awaitHeal(ctx)
		if err != nil {
			return chat.Publication{}, err
		}
		var p chat.Publication
		if begin {
			p, err = r.hub.broker.Restore(ctx, chat.Publication{Draft: d}, seen)
		} else {
			p, err = r.hub.broker.Append(ctx, d, seen)
		}
		if !r.appended(p, heals, err) { //nolint:contextcheck // what it starts outlives the command
			return p, err
		}
		begin = true
	}
}

// awaitHeal waits while the log is being healed. It returns the room's witness and
// how often the log has been healed.
func (r *room) awaitHeal(ctx context.Context) (witness chat.Position, heals int, err error) {
	for {
		r.mu.Lock()
		witness, heals = r.gate.witness, r.heals
		healed := r.healed
		r.mu.Unlock()
		if healed == nil {
			return witness, heals, nil
		}
		select {
		case <-healed:
		case <-r.hub.life.Done():
			return witness, heals, fmt.Errorf("%w: the node is stopping", chat.ErrUnavailable)
		case <-ctx.Done():
			return witness, heals, fmt.Errorf("%w: the log of %s is being healed", chat.ErrUnavailable, r.id)
		}
	}
}

// appended takes the broker's answer to an append that began when the log had
// been healed heals times, and says whether it has to be done again.
func (r *room) appended(p chat.Publication, heals int, err error) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(err, chat.ErrRewound):
		r.beginHeal()
		return true
	case errors.Is(err, chat.ErrConflict), errors.Is(err, chat.ErrDeleted):
	case err != nil:
		r.watchTail()
	case r.heals != heals || r.healed != nil:
		return true
	default:
		r.hear(p)
	}
	return false
}
