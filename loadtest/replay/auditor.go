package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// audit reads a room's log from where its readers began to its end, in a
// session of its own, when all is said: what was acknowledged must stand there,
// once and in order. It tries again when the session breaks.
func (p *player) audit(ctx context.Context, l *ledger) error {
	var retry backoff
	for {
		log, err := p.readLog(ctx, l.room, l.begin())
		if err == nil {
			l.audit(log)
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, errTerminal) || !sleep(ctx, retry.wait(err)) {
			return fmt.Errorf("the log of %s could not be read: %w", l.room, err)
		}
	}
}

// A logged message is one entry of a room's log.
type logged struct {
	pos             position
	key, from, data string
}

func (p *player) readLog(ctx context.Context, room string, after position) ([]logged, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s, err := p.dialer.open(ctx, p.bases[0], room, "auditor", "")
	if err != nil {
		return nil, err
	}
	defer s.leave()
	var log []logged
	for id := 1; ; id++ {
		if err := s.send(command{ID: id, Cmd: "history", Room: room, After: after.String(), Limit: pageLimit}); err != nil {
			return nil, err
		}
		f, err := s.reply(id)
		if err != nil {
			return nil, err
		}
		for _, m := range f.OK.Messages {
			if after, err = parsePosition(m.Pos); err != nil {
				return nil, err
			}
			log = append(log, logged{after, m.Key, m.From, string(m.Data)})
		}
		if !f.OK.More || len(f.OK.Messages) == 0 {
			return log, nil
		}
	}
}

// reply waits for the reply to a command, and drops everything else.
func (s *session) reply(id int) (frame, error) {
	for {
		b, err := s.read()
		if err != nil {
			return frame{}, err
		}
		f, err := s.parse(b)
		if err != nil {
			return frame{}, err
		}
		if f.Push == "" && f.ID == id {
			return f, f.failed()
		}
	}
}
