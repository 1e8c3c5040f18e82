package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pageLimit is how many messages a reader asks for at a time.
const pageLimit = 256

// A reader is one member that only listens. It comes back by position, asks
// for the history of what was not recovered, and tells its hearing everything.
type reader struct {
	room, user, base string
	dialer           *dialer
	places           *placement
	ears             *hearing
	joined           chan struct{} // closed at the first join

	// Owned by run.
	once   bool
	paging bool // history is asked for, up to caught
	caught position
	later  []frame // pushes that wait until the page is there
	id     int
}

func newReader(room, user, base string, d *dialer, p *placement, ears *hearing) *reader {
	return &reader{room: room, user: user, base: base, dialer: d, places: p, ears: ears, joined: make(chan struct{})}
}

// run listens until ctx ends, or until the server forbids to come back.
func (r *reader) run(ctx context.Context) error {
	var retry backoff
	for {
		err := r.listen(ctx, &retry)
		if errors.Is(err, errTerminal) && ctx.Err() == nil {
			return fmt.Errorf("reader %s in %s: %w", r.user, r.room, err)
		}
		if !sleep(ctx, retry.wait(err)) {
			return nil
		}
	}
}

// listen is one session, from the handshake to its end.
func (r *reader) listen(ctx context.Context, retry *backoff) error {
	since := ""
	if last, ok := r.ears.position(); ok {
		since = last.String()
	}
	s, err := r.dialer.open(ctx, r.base, r.room, r.user, since)
	if err != nil {
		r.places.refused(err)
		return err
	}
	defer s.close()
	r.paging, r.later = false, nil
	shard, back := "", false
	defer func() {
		r.places.left(r.room, shard)
		if back && ctx.Err() == nil {
			r.places.readerDown(time.Now())
			r.ears.left(time.Now())
		}
	}()
	for {
		b, err := s.read()
		now := time.Now()
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return r.places.closed(err)
		}
		f, err := s.parse(b)
		if err != nil {
			return err
		}
		switch {
		case f.Push == "hello":
			shard = f.Shard
			r.places.entered(r.room, shard)
			r.ears.met(shard, now)
		case f.Push == "joined" && f.Room == r.room:
			retry.reset()
			if err := r.join(s, f); err != nil {
				return err
			}
			back = true
			if r.once {
				r.places.readerBack(now)
			} else {
				r.once = true
				close(r.joined)
			}
		case f.Push == "message" || f.Push == "gap" || f.Push == "reset":
			if r.paging {
				r.later = append(r.later, f)
				continue
			}
			if err := r.hear(f, now); err != nil {
				return err
			}
		case f.Push == "" && r.paging && f.ID == r.id:
			if err := r.page(ctx, s, f, now); err != nil {
				return err
			}
		}
	}
}

// join takes the place that the server gives. What was missed and is not
// recovered is asked for, up to the place of the join.
func (r *reader) join(s *session, f frame) error {
	pos, err := parsePosition(f.Pos)
	if err != nil {
		return err
	}
	last, before := r.ears.position()
	r.ears.join(pos, f.Recovered)
	if before && !f.Recovered && last.before(pos) {
		r.paging, r.caught = true, pos
		return r.ask(s, last)
	}
	return nil
}

func (r *reader) ask(s *session, after position) error {
	r.id++
	return s.send(command{ID: r.id, Cmd: "history", Room: r.room, After: after.String(), Limit: pageLimit})
}

// page hears one page of history and asks for the next one, until the place of
// the join is reached; then what was pushed meanwhile is heard.
func (r *reader) page(ctx context.Context, s *session, f frame, now time.Time) error {
	if err := f.failed(); err != nil {
		var temporary *waitError
		if !errors.As(err, &temporary) {
			return fmt.Errorf("history: %w", err)
		}
		sleep(ctx, temporary.after)
		last, _ := r.ears.position()
		return r.ask(s, last)
	}
	for _, m := range f.OK.Messages {
		pos, err := parsePosition(m.Pos)
		if err != nil {
			return err
		}
		if r.caught.before(pos) {
			continue // it comes as a push, too
		}
		if err := r.hear(m, now); err != nil {
			return err
		}
	}
	last, _ := r.ears.position()
	if last.before(r.caught) && f.OK.More && len(f.OK.Messages) > 0 {
		return r.ask(s, last)
	}
	r.paging = false
	for _, m := range r.later {
		if err := r.hear(m, now); err != nil {
			return err
		}
	}
	r.later = nil
	return nil
}

// hear tells the ledger of one push.
func (r *reader) hear(f frame, now time.Time) error {
	at := f.Pos
	if f.Push == "gap" {
		at = f.Before
	}
	pos, err := parsePosition(at)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Push, err)
	}
	switch f.Push {
	case "message":
		r.ears.message(pos, f.Key, f.From, string(f.Data), now)
	case "gap":
		r.ears.gap(pos)
	case "reset":
		r.ears.reset(pos)
	}
	return nil
}
