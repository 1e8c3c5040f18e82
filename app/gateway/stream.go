package gateway

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/protocol"
)

// A stream is a conn that says what there is to hear as server-sent events. Its
// commands come by requests of their own, which take turns.
type stream struct {
	conn
	encoder encoder
	name    string           // by which requests find it; none: there are no commands
	address string           // that it was opened at
	opening auth.Credentials // what was shown; of use until ready

	// Owned by whoever writes for the session.
	greeting []byte // stands before the first event; nil when that is written
	begun    int    // how many bytes of the next event are written

	turn    chan struct{} // has an entry while nobody handles commands, once the first rooms are joined
	order   chan struct{} // has an entry of the request whose commands are handled
	over    chan struct{} // closed when no command is handled any more
	waiting atomic.Int32  // requests whose turn comes later

	shown shownName // guarded by streams.mu
}

const (
	// maxUnasked is how many bytes may come behind the request, which mean nothing.
	maxUnasked = 4 << 10
	// retryFrom and retrySpan are when a client comes back by itself, in milliseconds:
	// not all at the same moment, when a node has died.
	retryFrom, retrySpan = 1000, 2000
)

func newStream(g *Gateway, raw net.Conn, room chat.RoomID, head []byte) *stream {
	s := &stream{
		conn:    conn{gateway: g, raw: raw, direct: direct(raw), opened: time.Now()},
		encoder: newEncoder(room, rand.Float64()), // #nosec G404 -- it spreads clients, and keeps nothing secret
		turn:    make(chan struct{}, 1), order: make(chan struct{}, 1), over: make(chan struct{}),
	}
	s.framing = s
	s.greeting = append(appendRetry(head, retryFrom+rand.Int64N(retrySpan)), '\n') // #nosec G404 -- the same
	return s
}

// ready implements framing.
func (s *stream) ready() {
	s.gateway.count.Gateway.Streams.Inc()
	if before := s.gateway.streams.add(s); before != nil {
		before.session.Close(protocol.ClosePolicy) // not to come back: two clients would drive out each other for ever
	}
	s.opening = auth.Credentials{}
}

// read implements framing. What comes is thrown away.
func (s *stream) read() {
	s.turn <- struct{}{}
	s.discard()
	<-s.turn // the command that is under way is carried out to its end
}

func (s *stream) discard() {
	in, b := receiving(s.raw, s.direct), make([]byte, 64)
	for left := maxUnasked; left > 0; {
		n, err := in.Read(b)
		if errors.Is(err, io.EOF) && s.hurried.Load() == nil { // else the node closed first
			s.left.Store(true)
		}
		if err != nil {
			return
		}
		left -= n
	}
	s.session.Close(protocol.ClosePolicy)
}

// gone implements framing.
func (s *stream) gone() {
	s.gateway.count.Gateway.Streams.Dec()
	s.gateway.streams.remove(s)
	close(s.over)
}

// farewell implements framing.
func (s *stream) farewell(code protocol.CloseCode) []byte { return closeEvent(code) }

// Renew implements session.Conn.
func (s *stream) Renew(token string) (chat.Rights, time.Duration, *protocol.Error) {
	rights, left, bad := s.conn.Renew(token)
	if bad == nil {
		s.gateway.streams.show(s, auth.Credentials{Token: token})
	}
	return rights, left, bad
}

// TryWrite implements session.Conn. A batch is taken by whole frames: of the frame
// whose event is written in part, Write writes the rest.
func (s *stream) TryWrite(b protocol.Batch) (taken int) {
	if s.direct == nil {
		return 0
	}
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	text := s.text((*chunk)[:0], b)
	return s.account(b, text, s.tryWrite(text))
}

// text appends the events of a batch.
func (s *stream) text(to []byte, b protocol.Batch) []byte {
	to = append(to, s.greeting...)
	for f := range b.Frames() {
		to = s.encoder.append(to, f)
	}
	return to
}

// account notes that n bytes of a batch's text are written, and returns how many of the
// batch's that makes. Text is overwritten.
func (s *stream) account(b protocol.Batch, text []byte, n int) (taken int) {
	if n == len(text) {
		s.greeting = nil
		return len(b)
	}
	for f := range b.Frames() {
		size := len(s.greeting) + len(s.encoder.append(text[:0], f))
		if n < size {
			break
		}
		n -= size
		taken += f.Size()
		s.greeting = nil
	}
	s.begun, s.torn = n, n > 0
	return taken
}

// Write implements session.Conn.
func (s *stream) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	var err error
	for piece := range s.pieces(batches) {
		if err = s.write(piece); err != nil {
			break
		}
	}
	s.greeting, s.begun = nil, 0
	return s.written(err)
}

// pieces are the events of batches, as many at once as are to be written in one call.
func (s *stream) pieces(batches []protocol.Batch) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		chunk := chunks.Get().(*[]byte)
		defer chunks.Put(chunk)
		text, skip := append((*chunk)[:0], s.greeting...), s.begun
		for _, b := range batches {
			for f := range b.Frames() {
				text = s.encoder.append(text, f)
				if len(text) < writeChunk {
					continue
				}
				if !yield(text[skip:]) {
					return
				}
				text, skip = (*chunk)[:0], 0
			}
		}
		if len(text) > skip {
			yield(text[skip:])
		}
	}
}

// handle carries out one command when nobody else handles one, and hands its reply to
// answer; or returns why it did not.
func (s *stream) handle(ctx context.Context, command []byte, answer func(protocol.Frame)) (why *refusal) {
	select {
	case <-s.turn:
	case <-s.over:
		return noStream()
	case <-ctx.Done():
		return late()
	}
	defer func() {
		s.survive(recover())
		s.turn <- struct{}{}
	}()
	why = noStream() // if there is no reply
	s.calling = true
	//nolint:contextcheck // a command is carried out to its end, whether its client waits or not
	s.session.Answer(command, func(f protocol.Frame) {
		answer(f)
		why = nil
	})
	s.calling = false
	return why
}
