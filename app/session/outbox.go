package session

import (
	"context"
	"sync"

	"github.com/chatring/chatring/app/protocol"
)

// An outbox holds what waits for one reader, bounded in bytes. Nothing waits as
// long as the transport takes what is sent at once. A writer goroutine exists only
// while something waits; it takes everything at once, so a slow reader costs one
// write for many batches.
type outbox struct {
	mu      sync.Mutex
	batches []protocol.Batch
	bytes   int                // of batches, and of those being written
	extra   int                // bytes that may wait beyond the limit; see Recover
	writing bool               // a writer goroutine exists
	closing bool               // nothing more is taken in
	code    protocol.CloseCode // how to finish, once closing
	relief  chan struct{}      // closed when less waits; nil when nobody asked
}

// keepBatches is how many slots a writer keeps for the next burst; a longer one is
// given back.
const keepBatches = 64

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
func (s *Session) drop() (closing bool) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closing {
		o.closing = true
		s.forgetLocked()
		return false
	}
	return true
}

// forgetLocked lets go of what waits, but for what is being written.
func (s *Session) forgetLocked() {
	s.waitsLocked(-size(s.outbox.batches))
	s.outbox.batches = nil
}

// waitsLocked notes that so many bytes more wait.
func (s *Session) waitsLocked(more int) {
	s.outbox.bytes += more
	s.count.OutboxBytes.Add(float64(more))
}

func size(batches []protocol.Batch) (bytes int) {
	for _, b := range batches {
		bytes += len(b)
	}
	return bytes
}

// Send hands a batch to the transport, queues what that does not take at once, and
// returns. When the outbox has no place for it the session is closed as a slow
// consumer; it comes back by position, so nothing is lost.
func (s *Session) Send(b protocol.Batch) { s.send(b) }

// send is Send, and says whether the transport has taken all of it at once.
func (s *Session) send(b protocol.Batch) (taken bool) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return false
	}
	if !o.writing {
		if b = b[s.conn.TryWrite(b):]; len(b) == 0 {
			return true
		}
	}
	if o.bytes+len(b) > s.limits.Outbox+o.extra && o.bytes > 0 {
		s.closeSlowLocked()
		return false
	}
	s.queueLocked(b)
	return false
}

// Recover queues what the session has missed. It makes the outbox larger by
// that much until all has been written: else a slow consumer that comes back for
// a long backlog would be closed again for it. See mayRecover for the bound.
func (s *Session) Recover(batches []protocol.Batch) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	if !o.writing {
		batches = s.tryFirst(batches)
	}
	if len(batches) == 0 {
		return
	}
	o.extra += size(batches)
	s.queueLocked(batches...)
}

// maxPiece is how many bytes of a recovery are handed to the transport at once.
const maxPiece = 64 << 10

// tryFirst hands the first of the batches to the transport, in one piece, and
// returns what is left of all. The lock is held.
func (s *Session) tryFirst(batches []protocol.Batch) (rest []protocol.Batch) {
	page := pages.Get().(*[]byte)
	defer pages.Put(page)
	piece := (*page)[:0]
	for _, b := range batches {
		if len(piece)+len(b) > maxPiece {
			break
		}
		piece = append(piece, b...)
	}
	*page = piece
	taken := s.conn.TryWrite(piece)
	for len(batches) > 0 && taken >= len(batches[0]) {
		taken -= len(batches[0])
		batches = batches[1:]
	}
	if taken > 0 {
		batches[0] = batches[0][taken:]
	}
	return batches
}

// mayRecover says whether less than an outbox of earlier recoveries waits: they
// are beside the limit, and must not add up without one.
func (s *Session) mayRecover() bool {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	return s.outbox.extra < s.limits.Outbox
}

func (s *Session) queueLocked(batches ...protocol.Batch) {
	o := &s.outbox
	s.waitsLocked(size(batches))
	if o.batches == nil {
		o.batches = batches
	} else {
		o.batches = append(o.batches, batches...)
	}
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
	s.forgetLocked()
	s.closeLocked(protocol.CloseSlowConsumer)
}

// write is the writer goroutine: it ends when nothing waits.
func (s *Session) write() {
	var batches []protocol.Batch
	for {
		var code protocol.CloseCode
		batches, code = s.take(batches)
		if code != 0 {
			s.conn.Finish(code)
			return
		}
		if len(batches) == 0 {
			return
		}
		if ok, code := s.conn.Write(batches); !ok {
			s.fail(code)
		}
	}
}

// take returns what waits, and gives the slots of what was written back to the
// outbox. No batch says that the writer is done; a code says that it is
// to finish the transport.
func (s *Session) take(written []protocol.Batch) ([]protocol.Batch, protocol.CloseCode) {
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(written) > 0 {
		s.waitsLocked(-size(written))
	}
	o.relieve()
	clear(written)
	if cap(written) > keepBatches {
		written = nil
	}
	if len(o.batches) > 0 {
		batches := o.batches
		o.batches = written[:0]
		return batches, 0
	}
	o.batches, o.extra = nil, 0
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
	s.forgetLocked()
	if !o.closing {
		o.closing, o.code = true, code
	}
}
