package main

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"time"
)

// answerTimeout is how long a speaker waits for the answer to a publish before
// it takes the connection for dead.
const answerTimeout = 15 * time.Second

// A stage lets one room's recording be said, by sessions of its nicks. It
// keeps at most size sessions open and closes the one that was silent longest.
// It says one message after another: with several speakers, waiting for the
// acknowledgement is the only way to keep the order of the recording.
// A stage belongs to one goroutine.
type stage struct {
	room   string
	bases  []string // cluster, or nodes that take turns
	size   int
	dialer *dialer
	places *placement

	open   map[string]*list.Element // of *speaker
	recent *list.List               // most recently heard first
	turn   int
}

func newStage(room string, bases []string, size int, d *dialer, p *placement) *stage {
	return &stage{room: room, bases: bases, size: size, dialer: d, places: p, open: make(map[string]*list.Element), recent: list.New()}
}

// say publishes as nick until it is acknowledged: over reconnects, always with
// the same key. It calls sending when the session is open and the message is about
// to be sent, so that times leave out the handshake; again says that it was sent
// before. It fails when ctx ends, or when the answer is no temporary one.
func (st *stage) say(ctx context.Context, nick, key string, data []byte, sending func(again bool)) (position, error) {
	p := st.speaker(nick)
	var retry backoff
	for again := false; ; {
		err := p.connect(ctx)
		var pos position
		if err == nil {
			sending(again)
			again = true
			pos, err = p.publish(ctx, key, data)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errTerminal) {
			return pos, err
		}
		if !sleep(ctx, retry.wait(err)) {
			return position{}, err
		}
	}
}

// speaker is the session of a nick, opened when it is to speak.
func (st *stage) speaker(nick string) *speaker {
	if e, ok := st.open[nick]; ok {
		st.recent.MoveToFront(e)
		return e.Value.(*speaker)
	}
	if st.recent.Len() == st.size {
		eldest := st.recent.Remove(st.recent.Back()).(*speaker)
		delete(st.open, eldest.nick)
		eldest.leave()
	}
	p := &speaker{stage: st, nick: nick, base: st.bases[st.turn%len(st.bases)]}
	st.turn++
	st.open[nick] = st.recent.PushFront(p)
	return p
}

// close ends all sessions.
func (st *stage) close() {
	for e := st.recent.Front(); e != nil; e = e.Next() {
		e.Value.(*speaker).leave()
	}
}

// A speaker is one nick in one room. It comes back only when it has to speak.
type speaker struct {
	stage *stage
	nick  string
	base  string

	s       *session
	replies chan frame // of the current session
	ended   chan error // of the current session
	id      int
}

// publish sends once, over the open session, and waits for the answer.
func (p *speaker) publish(ctx context.Context, key string, data []byte) (position, error) {
	p.id++
	if err := p.s.send(command{ID: p.id, Cmd: "publish", Room: p.stage.room, Key: key, Data: data}); err != nil {
		return position{}, p.broke(err)
	}
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	for {
		select {
		case f := <-p.replies:
			if f.ID != p.id {
				continue // of an earlier attempt on this connection
			}
			if err := f.failed(); err != nil {
				return position{}, err
			}
			return parsePosition(f.OK.Pos)
		case err := <-p.ended:
			return position{}, p.broke(err)
		case <-timeout.C:
			return position{}, p.broke(errors.New("no answer"))
		case <-ctx.Done():
			return position{}, ctx.Err()
		}
	}
}

// connect opens the session unless it is open.
func (p *speaker) connect(ctx context.Context) error {
	if p.s != nil {
		select {
		case err := <-p.ended:
			if e := p.broke(err); errors.Is(e, errTerminal) {
				return e
			}
		default:
			return nil
		}
	}
	s, err := p.stage.dialer.open(ctx, p.base, p.stage.room, p.nick, "")
	if err != nil {
		p.stage.places.refused(err)
		return err
	}
	p.s, p.replies, p.ended = s, make(chan frame, 8), make(chan error, 1)
	go p.listen(s, p.replies, p.ended)
	return nil
}

// broke gives the session up, and says how to go on.
func (p *speaker) broke(err error) error {
	p.s.close()
	p.s = nil
	return p.stage.places.closed(err)
}

// leave ends the session in peace.
func (p *speaker) leave() {
	if p.s != nil {
		p.s.leave()
	}
}

// listen passes replies on until the session ends. Messages are the readers'
// concern and are dropped unread.
func (p *speaker) listen(s *session, replies chan<- frame, ended chan<- error) {
	shard := ""
	defer func() { p.stage.places.left(p.stage.room, shard) }()
	for {
		b, err := s.read()
		if err != nil {
			ended <- err
			return
		}
		if bytes.HasPrefix(b, []byte(`{"push":"message"`)) {
			continue
		}
		f, err := s.parse(b)
		if err != nil {
			ended <- err
			return
		}
		switch f.Push {
		case "":
			select {
			case replies <- f:
			default: // nobody waits for so many
			}
		case "hello":
			shard = f.Shard
			p.stage.places.entered(p.stage.room, shard)
		}
	}
}
