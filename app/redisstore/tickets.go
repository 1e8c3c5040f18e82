package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

var (
	//go:embed tickets_keep.lua
	keepTicketSource string
	//go:embed tickets_use.lua
	useTicketSource string

	keepTicketScript = newScript(keepTicketSource)
	useTicketScript  = newScript(useTicketSource)
)

// Tickets is the store of tickets for streams. It implements gateway.Tickets.
type Tickets struct{ *Store }

func ticketKey(id string) string { return redisconn.Prefix + "ticket:" + id }

// KeepTicket implements gateway.Tickets.
func (s Tickets) KeepTicket(ctx context.Context, id string, sealed []byte, life time.Duration) error {
	if _, err := s.run(ctx, keepTicketScript, []string{ticketKey(id)}, sealed, life.Milliseconds()); err != nil {
		return fmt.Errorf("keep a ticket: %w", err)
	}
	return nil
}

// LookTicket implements gateway.Tickets.
func (s Tickets) LookTicket(ctx context.Context, id string) (sealed []byte, user string, err error) {
	kept, err := s.client.HMGet(ctx, ticketKey(id), "sealed", "user").Result()
	if err != nil {
		return nil, "", fmt.Errorf("look at a ticket: %w: %w", chat.ErrUnavailable, err)
	}
	text, _ := kept[0].(string) // nil: there is none
	user, _ = kept[1].(string)
	return []byte(text), user, nil
}

// UseTicket implements gateway.Tickets.
func (s Tickets) UseTicket(ctx context.Context, id, user string, life time.Duration) (bool, error) {
	reply, err := s.run(ctx, useTicketScript, []string{ticketKey(id)}, user, life.Milliseconds())
	if err != nil {
		return false, fmt.Errorf("use a ticket: %w", err)
	}
	return reply == int64(1), nil
}
