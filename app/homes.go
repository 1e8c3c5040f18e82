package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/home"
)

// kindOpen is the word with which nodes tell each other which rooms to open: the
// rooms, by the APPID of the node that is to open them.
const kindOpen = "open"

// connectHomes wires the guide: what it asks for is done by the gateway here,
// and by the hubs of the other nodes.
func (n *node) connectHomes() {
	n.home = home.New(sockets{n.gateway, n.config.Home.Rate}, home.Options{
		AppID: n.config.APPID, URL: n.config.Home.URL,
		Open: func(rooms map[string][]chat.RoomID) error { return n.cluster.Call(kindOpen, rooms) },
		Away: n.away, Led: n.led,
	}, &n.count.Home)
	n.cluster.On(kindOpen, n.openRooms)
}

// openRooms hears which rooms are to be opened, and opens its own.
func (n *node) openRooms(body json.RawMessage) {
	var rooms map[string][]string
	if err := json.Unmarshal(body, &rooms); err != nil {
		slog.Warn("rooms that are to be opened cannot be read", "err", err)
		return
	}
	for _, name := range rooms[n.config.APPID] {
		if room, err := chat.ParseAddress(name); err == nil {
			n.hub.Warm(room)
		}
	}
}

// sockets is the gateway as the guide wants it.
type sockets struct {
	*gateway.Gateway
	rate int
}

// SendAway implements home.Sockets.
func (s sockets) SendAway(ctx context.Context, rooms map[chat.RoomID]time.Time, ahead func(context.Context, []chat.RoomID) []chat.RoomID) int {
	return s.Gateway.SendAway(ctx, gateway.Departure{
		Leaves: func(room chat.RoomID, opened time.Time) bool { return opened.Before(rooms[room]) },
		Rate:   s.rate, Within: math.MaxInt64,
		Ahead: ahead, Patience: math.MaxInt64,
	})
}
