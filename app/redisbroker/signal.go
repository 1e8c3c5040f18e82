package redisbroker

import (
	"context"
	"fmt"

	"github.com/chatring/chatring/app/chat"
)

// Signal implements chat.Broker.
func (b *Broker) Signal(ctx context.Context, room chat.RoomID, body []byte) error {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	if _, _, err := b.tell(ctx, room, signalMessage(b.node, body)); err != nil {
		return fmt.Errorf("signal %s: %w", room, err)
	}
	return nil
}

// tell lets the other nodes of a room hear a message, and returns how many
// they are. If this node hears the room without having claimed it, because it
// is about to leave, it is one of them.
func (b *Broker) tell(ctx context.Context, room chat.RoomID, message []byte) (others int64, claimed bool, err error) {
	c := tellCall(room, message)
	reply, err := b.signals.do(ctx, c)
	if err != nil {
		return 0, false, err
	}
	others, _ = reply.(int64)
	if others > 0 {
		b.counters.bridged.Add(1)
	}
	return others, c.own != "", nil
}

func tellCall(room chat.RoomID, message []byte) *call {
	return &call{
		script:  signalScript,
		room:    room,
		channel: roomChannel(room),
		args:    []any{message},
		size:    len(message),
	}
}
