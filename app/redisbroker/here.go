package redisbroker

import "github.com/chatring/chatring/app/chat"

// Channel returns the name of this node's channel, which has a subscriber exactly
// while the bridge's connection lives in Redis' eyes; each connection has another
// one. It is empty while the connection does not have all rooms.
func (b *Broker) Channel() string {
	b.bridge.mu.Lock()
	defer b.bridge.mu.Unlock()
	select {
	case <-b.bridge.connected:
		return b.bridge.channel
	default:
		return ""
	}
}

// Hears says whether Redis may count this node among those who hear a room. After
// Close that is so until Redis has confirmed it.
func (b *Broker) Hears(room chat.RoomID) bool {
	b.bridge.mu.Lock()
	defer b.bridge.mu.Unlock()
	l := b.bridge.lines[room]
	return l != nil && (l.wanted || l.state != unheard)
}
