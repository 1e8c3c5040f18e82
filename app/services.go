package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/config"
	"github.com/chatring/chatring/app/gateway"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/services"
)

// Kinds of what is broadcast for services.
const (
	kindAnnounce   = "announce"
	kindDisconnect = "disconnect"
)

// A disconnect is what the nodes tell each other when the sockets of a user are
// to be closed.
type disconnect struct {
	User chat.UserID        `json:"user"`
	Code protocol.CloseCode `json:"code"`
}

// allNodes tells all nodes, this one among them, what services want of their
// sockets. It is services.Nodes.
type allNodes struct{ *node }

func (n allNodes) Announce(ctx context.Context, d chat.Draft) error {
	return n.broadcast.Tell(ctx, d.From, d.Key, kindAnnounce, json.RawMessage(d.Body))
}

func (n allNodes) Disconnect(ctx context.Context, user chat.UserID, code protocol.CloseCode) error {
	return n.broadcast.Tell(ctx, user, "", kindDisconnect, disconnect{user, code})
}

func (n allNodes) LogOut(ctx context.Context, user chat.UserID, until time.Time) error {
	return n.logout(ctx, user, until)
}

// hearServices makes the node do with its sockets what services want, over
// whichever node they said it.
func (n *node) hearServices() {
	n.broadcast.On(kindAnnounce, func(ctx context.Context, w cluster.Word) {
		push := protocol.Announcement{From: w.From, TS: w.At.UnixMilli(), Data: w.Body}.Frame()
		slog.Info("announced", "from", w.From, "sockets", n.gateway.Announce(ctx, push))
	})
	n.broadcast.On(kindDisconnect, func(_ context.Context, w cluster.Word) {
		var d disconnect
		if err := json.Unmarshal(w.Body, &d); err != nil {
			slog.Warn("a disconnect cannot be read", "err", err)
			return
		}
		n.gateway.Disconnect(d.User, d.Code)
	})
}

// newServices builds the HTTP API for services. Revoked is nil in dev mode.
func (n *node) newServices(a auth.Authenticator, revoked gateway.Logouts) *services.API {
	c := n.config
	return services.New(n.hub, allNodes{n}, a, revoked, services.Options{
		Rates:    services.Rates{Requests: c.Service.Requests, Messages: c.Service.Messages, Burst: c.Service.Burst},
		InFlight: c.Service.InFlight, MaxData: c.Gateway.MaxMessage,
		QueueBytes: config.QueueBytes / 4, Timeout: c.Session.CommandTimeout,
	}, &n.count.Services)
}
