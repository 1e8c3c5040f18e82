package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// A conn is a transport that takes a batch each time that it is let.
type conn struct {
	let   chan struct{}                  // one token for each Write; closed: any number
	renew func(token string) chat.Rights // nil: no token is good

	mu      sync.Mutex
	batches [][]string
	code    protocol.CloseCode
	hurried bool
}

func (c *conn) TryWrite(protocol.Batch) int { return 0 }

func (c *conn) Write(batches []protocol.Batch) (bool, protocol.CloseCode) {
	var batch []string
	for _, b := range batches {
		for f := range b.Frames() {
			batch = append(batch, string(f.JSON()))
		}
	}
	<-c.let
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches = append(c.batches, batch)
	return true, 0
}

func (c *conn) Hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurried = true
}

func (c *conn) Renew(token string) (chat.Rights, time.Duration, *protocol.Error) {
	if c.renew == nil {
		return nil, 0, &protocol.Error{Code: protocol.BadToken, Message: "no token is good"}
	}
	return c.renew(token), time.Hour, nil
}

func (c *conn) Finish(code protocol.CloseCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.code != 0 {
		panic("finished twice")
	}
	c.code = code
}

func (c *conn) written() (frames []string, writes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.batches {
		frames = append(frames, b...)
	}
	return frames, len(c.batches)
}

// A story is what happens to a session of alice in the lobby of one node.
type story = func(t *testing.T, s *session.Session, c *conn)

// inBubble runs a story with an outbox of so many bytes.
func inBubble(t *testing.T, outbox int, tell story) {
	play(t, session.Limits{Outbox: outbox}, hub.Join{}, tell)
}

// watching runs a story in which alice is a watcher.
func watching(t *testing.T, tell story) {
	play(t, session.Limits{Outbox: 1 << 20}, hub.Join{Watch: true}, tell)
}

func play(t *testing.T, limits session.Limits, j hub.Join, tell story) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(membroker.New().Node("1111"), hub.Options{
			Window: 64, WindowBudget: 1 << 20, Linger: time.Minute, OpenTimeout: time.Second, FillGrace: time.Millisecond,
		}, &metrics.New("1111", "test").Hub)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		c := &conn{let: make(chan struct{}, 1000)}
		alice := session.Who{User: "alice", Rights: chat.AllRights{}, Allowance: &session.Allowance{Rates: &session.Rates{}}}
		limits.Rooms, limits.CommandTimeout, limits.Strikes = 4, time.Second, 3
		count := metrics.New("1111", "test").Sessions
		s := session.New(h, alice, c, &limits, &count)
		s.Greet(protocol.Hello{})
		synctest.Wait() // hello is a write of its own
		s.Start(j.Watch, session.First{Room: "lobby", Options: j.Options})
		tell(t, s, c)
		close(c.let)
		s.End()
		synctest.Wait()
		if waits := testutil.ToFloat64(count.OutboxBytes); waits != 0 {
			t.Errorf("when all is over, %v bytes are counted as waiting", waits)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func frame(n int) protocol.Frame { return protocol.Ok(uint64(n)) }

// What gathers while a write is under way goes out in one, in order.
func TestEverythingQueuedIsOneWrite(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		for range 2 {
			c.let <- struct{}{} // hello, joined
		}
		synctest.Wait()
		_, before := c.written()
		for n := range 500 {
			s.Send(frame(n + 1).Batch())
			if n == 0 {
				synctest.Wait() // the writer has taken the first
			}
		}
		c.let <- struct{}{}
		c.let <- struct{}{}
		synctest.Wait()
		frames, writes := c.written()
		if writes-before > 2 {
			t.Errorf("500 frames took %d writes, want 2", writes-before)
		}
		for n, f := range frames[len(frames)-500:] {
			if want := fmt.Sprintf(`{"id":%d,"ok":{}}`, n+1); f != want {
				t.Fatalf("frame %d = %s, want %s", n, f, want)
			}
		}
	})
}

// What waits for one reader never exceeds the outbox; at the limit the session
// is closed with a code that brings it back.
func TestFullOutboxClosesTheSession(t *testing.T) {
	inBubble(t, 4096, func(t *testing.T, s *session.Session, c *conn) {
		synctest.Wait()
		for n := range 1000 {
			s.Send(frame(n + 1000).Batch())
		}
		for range 5 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		size := 0
		for _, f := range frames {
			size += len(f)
		}
		if size > 4096 {
			t.Errorf("%d bytes waited, limit 4096", size)
		}
		if c.code != protocol.CloseSlowConsumer || !c.hurried {
			t.Errorf("closed with %d (hurried: %v), want %d", c.code, c.hurried, protocol.CloseSlowConsumer)
		}
	})
}

// What a join recovers is taken in beyond the limit, and is no reason to close.
// Once it is written, the limit is what it was.
func TestRecoveryIsBesideTheLimit(t *testing.T) {
	inBubble(t, 4096, func(t *testing.T, s *session.Session, c *conn) {
		synctest.Wait()
		missed := make([]protocol.Batch, 1000)
		for n := range missed {
			missed[n] = frame(n + 1000).Batch()
		}
		s.Recover(missed)
		s.Send(frame(1).Batch())
		for range 5 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		if got, want := frames[len(frames)-1], `{"id":1,"ok":{}}`; got != want || c.code != 0 {
			t.Fatalf("last frame = %s, closed with %d; want %s", got, c.code, want)
		}
		for len(c.let) > 0 {
			<-c.let
		}
		for n := range 1000 {
			s.Send(frame(n + 1000).Batch())
		}
		c.let <- struct{}{}
		synctest.Wait()
		if c.code != protocol.CloseSlowConsumer {
			t.Errorf("closed with %d, want %d", c.code, protocol.CloseSlowConsumer)
		}
	})
}

// A client that asks and never reads is closed as a slow consumer after the
// time of one command; its reader is not held up for longer.
func TestUnreadRepliesCloseTheirClient(t *testing.T) {
	inBubble(t, 4096, func(t *testing.T, s *session.Session, c *conn) {
		for n := range 100 {
			s.Send(frame(n + 1000).Batch())
		}
		synctest.Wait()
		began := time.Now()
		s.Handle([]byte(`{"id":1,"cmd":"presence","room":"lobby"}`))
		if took := time.Since(began); took != time.Second {
			t.Errorf("the reader was held up for %v, want the command timeout, 1s", took)
		}
		for range 5 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		if c.code != protocol.CloseSlowConsumer {
			t.Errorf("closed with %d, want %d", c.code, protocol.CloseSlowConsumer)
		}
	})
}

// What waits is written before the close, and nothing after it; the first code
// counts.
func TestCloseComesLast(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		synctest.Wait()
		s.Send(frame(1).Batch())
		s.Close(protocol.CloseDrain)
		s.Close(protocol.CloseIdle)
		s.Send(frame(2).Batch())
		for range 5 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		if got, want := frames[len(frames)-1], `{"id":1,"ok":{}}`; got != want {
			t.Errorf("last frame = %s, want %s", got, want)
		}
		if c.code != protocol.CloseDrain {
			t.Errorf("closed with %d, want %d", c.code, protocol.CloseDrain)
		}
	})
}

// A client that asks for more than it reads is slowed down, and gets every
// answer.
func TestOwnRepliesSlowDownTheirClient(t *testing.T) {
	inBubble(t, 64<<10, func(t *testing.T, s *session.Session, c *conn) {
		for range 200 {
			c.let <- struct{}{}
		}
		body := strings.Repeat("x", 1000)
		for n := range 40 {
			s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"publish","room":"lobby","data":%q}`, n+1, body))
		}
		synctest.Wait()
		for len(c.let) > 0 {
			<-c.let // from here on it reads slowly
		}
		answered := make(chan bool)
		go func() {
			for n := range 20 {
				s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"history","room":"lobby","limit":40}`, 100+n))
			}
			close(answered)
		}()
		for reading := true; reading; {
			time.Sleep(100 * time.Millisecond) // the bubble's clock
			select {
			case c.let <- struct{}{}:
			case <-answered:
				reading = false
			}
		}
		for range 10 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		pages := 0
		for _, f := range frames {
			var reply struct {
				ID int
				OK struct{ Messages []any }
			}
			if json.Unmarshal([]byte(f), &reply) == nil && len(reply.OK.Messages) == 40 {
				pages++
			}
		}
		if pages != 20 || c.code != 0 {
			t.Errorf("got %d of 20 pages, closed with %d", pages, c.code)
		}
	})
}

// Who is being written a long backlog may say something meanwhile: its reply
// waits for the backlog, and nobody is closed for that.
func TestCommandBehindABacklogIsAnswered(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, s *session.Session, c *conn) {
		for range 2 {
			c.let <- struct{}{} // hello, joined
		}
		synctest.Wait()
		var backlog []protocol.Batch
		for n := range 100 { // twice the outbox
			backlog = append(backlog, frame(n+1000).Batch())
		}
		s.Recover(backlog)
		go func() {
			time.Sleep(2 * time.Second) // longer than a command may take
			c.let <- struct{}{}
			c.let <- struct{}{}
		}()
		s.Handle([]byte(`{"id":7,"cmd":"publish","room":"lobby","key":"k","data":1}`))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		frames, _ := c.written()
		if got := strings.Join(frames, ""); c.code != 0 || !strings.Contains(got, `"id":7`) {
			t.Errorf("closed with %d, wrote %s", c.code, got)
		}
	})
}

// Recoveries are beside the outbox' limit, but who does not read gets no more of
// them than one beyond it, however often it joins.
func TestUnreadRecoveriesDoNotAddUp(t *testing.T) {
	inBubble(t, 2000, func(t *testing.T, s *session.Session, c *conn) {
		for range 1 + 1 + 2*40 {
			c.let <- struct{}{}
		}
		for n := range 40 {
			s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"publish","room":"lobby","key":"k%d","data":1}`, n+1, n))
			synctest.Wait()
		}
		for len(c.let) > 0 {
			<-c.let // and nothing is read from here on
		}
		for n := range 3 {
			s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"leave","room":"lobby"}`, 2*n+100))
			s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"join","room":"lobby","since":"0-0"}`, 2*n+101))
		}
		for range 10 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		all := strings.Join(frames, "\n")
		if got := strings.Count(all, `"recovered":true`); c.code != 0 || got != 1 {
			t.Errorf("%d of 3 joins were recovered, closed with %d; want one, and 0", got, c.code)
		}
		if got := strings.Count(all, `"push":"message"`); got != 80 {
			t.Errorf("%d messages were written, want 40 when they were said and 40 recovered", got)
		}
	})
}

// Answers to history that wait for their client stay what they are, whatever is
// answered meanwhile.
func TestHistoryWaits(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		s.Handle([]byte(`{"id":1,"cmd":"publish","room":"lobby","key":"k","data":1}`))
		var want []string
		for id := range 100 {
			s.Handle(fmt.Appendf(nil, `{"id":%d,"cmd":"history","room":"lobby","limit":1}`, 1000+id))
			want = append(want, fmt.Sprintf(`{"id":%d,"ok":{"messages":[{"push":"message",`, 1000+id))
		}
		for range 5 {
			c.let <- struct{}{}
		}
		synctest.Wait()
		frames, _ := c.written()
		for n, f := range frames[len(frames)-len(want):] {
			if !strings.HasPrefix(f, want[n]) {
				t.Fatalf("answer %d is %s, want %s…", n, f, want[n])
			}
		}
	})
}
