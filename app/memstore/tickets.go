package memstore

import (
	"context"
	"sync"
	"time"
)

// maxTickets is how many tickets are kept. For a further one, some other is forgotten.
const maxTickets = 10_000

// Tickets is the store of tickets for streams. It implements gateway.Tickets.
type Tickets struct {
	// Guarded by mu.
	mu   sync.Mutex
	kept map[string]ticket
}

type ticket struct {
	sealed []byte
	user   string
	until  time.Time
}

// NewTickets returns a store without tickets.
func NewTickets() *Tickets { return &Tickets{kept: make(map[string]ticket)} }

// KeepTicket implements gateway.Tickets.
func (s *Tickets) KeepTicket(_ context.Context, id string, sealed []byte, life time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for other, t := range s.kept {
		if len(s.kept) < maxTickets && now.Before(t.until) {
			break // those that are over are found as others come
		}
		delete(s.kept, other)
	}
	s.kept[id] = ticket{sealed: sealed, until: now.Add(life)}
	return nil
}

// LookTicket implements gateway.Tickets.
func (s *Tickets) LookTicket(_ context.Context, id string) (sealed []byte, user string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.liveLocked(id)
	return t.sealed, t.user, nil
}

// UseTicket implements gateway.Tickets.
func (s *Tickets) UseTicket(_ context.Context, id, user string, life time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.liveLocked(id)
	if t.sealed == nil || t.user != "" && t.user != user {
		return false, nil
	}
	t.user, t.until = user, time.Now().Add(life)
	s.kept[id] = t
	return true, nil
}

func (s *Tickets) liveLocked(id string) ticket {
	t := s.kept[id]
	if !time.Now().Before(t.until) {
		return ticket{}
	}
	return t
}
