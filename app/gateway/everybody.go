package gateway

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

const (
	// announceStep is how often Announce goes on, and announceGroup with how many
	// sockets: 20,000 a second, which take less than a tenth of a processor.
	announceStep  = 10 * time.Millisecond
	announceGroup = 200
)

// Announce sends a push to every socket that is open now, some at a time. It returns
// how many it was sent to, when that is done or ctx has ended.
func (g *Gateway) Announce(ctx context.Context, push protocol.Frame) (told int) {
	g.mu.Lock()
	conns := slices.Collect(maps.Keys(g.conns))
	g.mu.Unlock()
	turn := time.NewTicker(announceStep)
	defer turn.Stop()
	for i, c := range conns {
		if i%announceGroup == 0 && i > 0 {
			select {
			case <-turn.C:
			case <-ctx.Done():
				return i
			}
		}
		c.session.Send(push.Batch())
	}
	return len(conns)
}

// Disconnect closes the sockets of a user on this node that are open now.
func (g *Gateway) Disconnect(id chat.UserID, code protocol.CloseCode) {
	for _, c := range g.socketsOf(id) {
		c.session.Close(code)
	}
}

// socketsOf returns the sockets of a user on this node.
func (g *Gateway) socketsOf(id chat.UserID) []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if u := g.users[id]; u != nil {
		return slices.Clone(u.conns)
	}
	return nil
}
