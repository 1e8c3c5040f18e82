package session_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// An open transport takes at once as many bytes as it has place for; Write waits
// until it is let.
type open struct {
	conn
	place int

	mu    sync.Mutex
	bytes []byte
	tried int
}

func (o *open) TryWrite(b protocol.Batch) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried++
	n := min(len(b), o.place)
	o.place -= n
	o.bytes = append(o.bytes, b[:n]...)
	return n
}

func (o *open) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	<-o.let
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range batches {
		o.bytes = append(o.bytes, b...)
	}
	return true, 0
}

// uncounted is the counting of a session of which no count is looked at.
func uncounted() *metrics.Sessions { return &metrics.New("1111", "test").Sessions }

// What waits for readers is counted, with what is being written and without what was
// taken at once, and no longer once it is forgotten.
func TestWhatWaitsIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := float64(frame(0).Size())
		count := uncounted()
		waits := func(want float64, when string) {
			t.Helper()
			synctest.Wait()
			if got := testutil.ToFloat64(count.OutboxBytes); got != want*size {
				t.Errorf("%s %v bytes wait, want %v", when, got, want*size)
			}
		}
		o := &open{conn: conn{let: make(chan struct{})}, place: int(size)}
		s := session.New(nil, session.Who{User: "alice"}, o, &session.Limits{Outbox: 10 * int(size)}, count)
		for n := range 4 {
			s.Send(frame(0).Batch())
			waits(float64(n), "of some frames, of which one was taken at once,")
		}
		o.let <- struct{}{}
		waits(2, "after the first write")
		s.Recover(slices.Repeat([]protocol.Batch{frame(0).Batch()}, 20))
		waits(22, "with a recovery")
		s.End()
		waits(2, "when the session has ended, and the last write has not,")
		close(o.let)
		waits(0, "in the end")
	})
}

// sentOver sends 100 frames over a transport that takes so many bytes at once,
// and has the rest taken when all have been sent. It returns the frames that came
// and how often something was tried.
func sentOver(t *testing.T, place int) (frames []string, tried int) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		o := &open{conn: conn{let: make(chan struct{})}, place: place}
		limits := &session.Limits{Outbox: 1 << 20}
		s := session.New(nil, session.Who{User: "alice", Rights: chat.AllRights{}}, o, limits, uncounted())
		for n := range 100 {
			s.Send(frame(n).Batch())
		}
		close(o.let)
		synctest.Wait()
		for f := range protocol.Batch(o.bytes).Frames() {
			frames = append(frames, string(f.JSON()))
		}
		tried = o.tried
	})
	return frames, tried
}

// What the transport takes at once is not queued; what it does not take waits,
// and everything behind it, in order, wherever it was cut.
func TestWhatIsTakenAtOnceDoesNotWait(t *testing.T) {
	var want []string
	for n := range 100 {
		want = append(want, string(frame(n).JSON()))
	}
	size := frame(0).Size()
	for place := range 3 * size {
		if got, tried := sentOver(t, place); !slices.Equal(got, want) || tried != place/size+1 {
			t.Fatalf("with place for %d bytes %d writes were tried, want %d, and came %v", place, tried, place/size+1, got)
		}
	}
	if got, tried := sentOver(t, 1<<20); !slices.Equal(got, want) || tried != 100 {
		t.Errorf("with place for all %d writes were tried, and came %v", tried, got)
	}
}

// A batch that is taken at once costs no allocation.
func TestSendAllocatesNothing(t *testing.T) {
	s := session.New(nil, session.Who{User: "alice"}, hole{}, &session.Limits{Outbox: 1 << 20}, nil)
	b := frame(1).Batch()
	if n := testing.AllocsPerRun(100, func() { s.Send(b) }); n != 0 {
		t.Errorf("Send allocates %v times", n)
	}
}

// What was missed comes whole and in order, however much of it the transport takes
// at once, and beyond the limit. Only so much is tried as takes no time.
func TestRecoverInPieces(t *testing.T) {
	var batches []protocol.Batch
	var want []byte
	for n := range 4000 {
		b := frame(n + 1).Batch()
		batches, want = append(batches, b), append(want, b...)
	}
	const piece = 64 << 10
	size := len(batches[0])
	for _, place := range []int{0, 1, size - 1, size, size + 1, 40_000, piece - size, piece, 2 * piece} {
		synctest.Test(t, func(t *testing.T) {
			o := &open{conn: conn{let: make(chan struct{})}, place: place}
			s := session.New(nil, session.Who{User: "alice", Rights: chat.AllRights{}}, o, &session.Limits{Outbox: 1000}, uncounted())
			s.Recover(slices.Clone(batches))
			o.mu.Lock()
			if got := len(o.bytes); got < min(place, piece-2*size) || got > min(place, piece) || o.tried != 1 {
				t.Errorf("with place for %d bytes %d are taken at once, by %d writes", place, got, o.tried)
			}
			o.mu.Unlock()
			close(o.let)
			synctest.Wait()
			if !bytes.Equal(o.bytes, want) {
				t.Errorf("with place for %d bytes %d come in the end that are not the %d that were sent", place, len(o.bytes), len(want))
			}
		})
	}
}
