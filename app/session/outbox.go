package session

import (
	"context"
	"sync"

	"github.com/chatring/chatring/app/protocol"
)

// An outbox holds what waits for one reader, bounded in bytes. A writer
// goroutine exists only while something waits; it takes everything at once, so
// a busy reader costs one write for many frames.
type outbox struct {
	mu      sync.Mutex
	frames  []protocol.Frame
	bytes   int                // of frames, and of those being written
	extra   int                // bytes that may wait beyond the limit; see Recover
	writing bool               // a writer goroutine exists
	closing bool               // nothing more is taken in
	code    protocol.CloseCode // how to finish, once closing
	relief  chan struct{}      // closed when less waits; nil when nobody asked
}

// keepFrames is how many slots an emptied outbox keeps for the next burst; a
// longer one is given back.
const keepFrames = 64

// await returns when at most half of the outbox is taken, recoveries aside, so
// that what a client asks for slows down that client and does not end it. When
// ctx ends first, the session is closed as a slow consumer: nothing is read from
// its client meanwhile, so a longer wait would look like silence. It says
// whether the outbox still takes anything in.
func (s *Session) await(ctx context.Context) (open bool) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > s.limits.Outbox/2+o.extra && !o.closing {
		if ctx.Err() != nil {
			s.closeSlowLocked()
			return false
		}
		if o.relief == nil {
			o.relief = make(chan struct{})
		}
		relief := o.relief
		o.mu.Unlock()
		select {
		case <-relief:
		case <-ctx.Done():
		}
		o.mu.Lock()
	}
	return !o.closing
}

func (o *outbox) relieve() {
	if o.relief != nil {
		close(o.relief)
		o.relief = nil
	}
}

// drop takes nothing more in, and says whether the outbox was closing anyway;
// if not, it forgets what waits.
func (o *outbox) drop() (closing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		o.closing, o.frames = true, nil
		return false
	}
	return true
}

// Send queues a frame and returns at once. When the outbox has no place for
// it the session is closed as a slow consumer; it comes back by position, so
// nothing is lost.
func (s *Session) Send(f protocol.Frame) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	if o.bytes+f.Size() > s.limits.Outbox+o.extra && o.bytes > 0 {
		s.closeSlowLocked()
		return
	}
	s.queueLocked(f)
}

// Recover queues what the session has missed. It makes the outbox larger by
// that much until all has been written: else a slow consumer that comes back for
// a long backlog would be closed again for it. See mayRecover for the bound.
func (s *Session) Recover(frames []protocol.Frame) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	for _, f := range frames {
		o.extra += f.Size()
		s.queueLocked(f)
	}
}

// mayRecover says whether less than an outbox of earlier recoveries waits: they
// are beside the limit, and must not add up without one.
func (s *Session) mayRecover() bool {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	return s.outbox.extra < s.limits.Outbox
}

func (s *Session) queueLocked(f protocol.Frame) {
	o := &s.outbox
	o.frames = append(o.frames, f)
	o.bytes += f.Size()
	if !o.writing {
		o.writing = true
		go s.write()
	}
}

// Close ends the session: what waits is still written, in bounded time, then
// the transport is finished with code. Only the first code counts.
func (s *Session) Close(code protocol.CloseCode) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	s.closeLocked(code)
}

func (s *Session) closeLocked(code protocol.CloseCode) {
	o := &s.outbox
	if o.closing {
		return
	}
	o.closing, o.code = true, code
	o.relieve()
	s.conn.Hurry()
	if !o.writing {
		o.writing = true
		go s.write()
	}
}

func (s *Session) closeSlowLocked() {
	s.count.SlowConsumers.Inc()
	s.outbox.frames = nil
	s.closeLocked(protocol.CloseSlowConsumer)
}

// write is the writer goroutine: it ends when nothing waits.
func (s *Session) write() {
	var batch []protocol.Frame
	for {
		var code protocol.CloseCode
		batch, code = s.take(batch)
		if code != 0 {
			s.conn.Finish(code)
			return
		}
		if len(batch) == 0 {
			return
		}
		if ok, code := s.conn.Write(batch); !ok {
			s.fail(code)
		}
	}
}

// take returns what waits, and gives the written batch's slots back to the
// outbox. An empty batch says that the writer is done; a code says that it is
// to finish the transport.
func (s *Session) take(written []protocol.Frame) ([]protocol.Frame, protocol.CloseCode) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range written {
		o.bytes -= f.Size()
	}
	o.relieve()
	clear(written)
	if cap(written) > keepFrames {
		written = nil
	}
	if len(o.frames) > 0 {
		batch := o.frames
		o.frames = written[:0]
		return batch, 0
	}
	o.frames, o.extra = nil, 0
	if o.closing && o.code != 0 {
		return nil, o.code // writing stays: the transport is finished once
	}
	o.writing = false
	return nil, 0
}

// fail is what follows when the transport takes no more.
func (s *Session) fail(code protocol.CloseCode) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frames = nil
	if !o.closing {
		o.closing, o.code = true, code
	}
}
