package session_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/session"
)

// give gives a command and returns after how many milliseconds to give it again:
// 0 when it is carried out.
func give(t *testing.T, s *session.Session, c *conn, command string) int64 {
	t.Helper()
	var reply struct {
		Error *protocol.Error
	}
	for line := range strings.Lines(says(s, c, command)) {
		if !strings.HasPrefix(line, `{"id"`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &reply); err != nil {
			t.Fatal(err)
		}
	}
	if reply.Error == nil {
		return 0
	}
	if reply.Error.Code != protocol.RateLimited || !reply.Error.Temporary || reply.Error.RetryAfterMS < 1 {
		t.Fatalf("answered with %+v", reply.Error)
	}
	return reply.Error.RetryAfterMS
}

const presence = `{"id":1,"cmd":"presence","room":"lobby"}`

// A session may give its burst of commands at once, and then as many as its rate
// allows: it is told to the millisecond when to go on. What is refused costs
// nothing, so who asks too early waits no longer for it.
func TestRates(t *testing.T) {
	limits := session.Limits{Outbox: 1 << 20, Rates: session.Rates{Messages: 10, Burst: 2 * time.Second}}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		for i := range 20 {
			if wait := give(t, s, c, presence); wait != 0 {
				t.Fatalf("command %d is to wait for %d ms", i, wait)
			}
		}
		for range 20 {
			if wait := give(t, s, c, presence); wait != 100 {
				t.Fatalf("to wait for %d ms, want 100", wait)
			}
		}
		time.Sleep(99 * time.Millisecond)
		if wait := give(t, s, c, presence); wait != 1 {
			t.Errorf("after 99 ms to wait for %d ms, want 1", wait)
		}
		time.Sleep(time.Millisecond)
		if wait := give(t, s, c, presence); wait != 0 {
			t.Errorf("after 100 ms to wait for %d ms", wait)
		}
		time.Sleep(time.Hour)
		for range 20 {
			if wait := give(t, s, c, presence); wait != 0 {
				t.Fatalf("after an hour to wait for %d ms", wait)
			}
		}
		if wait := give(t, s, c, presence); wait != 100 {
			t.Errorf("an hour's silence allows more than a burst")
		}
	})
}

// A command that is dear counts as twenty, as far as so many fit at all.
func TestDearCommands(t *testing.T) {
	for _, x := range []struct{ perSecond, dear, cheap int }{{10, 2, 10}, {5, 1, 5}, {2, 1, 0}} {
		limits := session.Limits{
			Outbox: 1 << 20, Rates: session.Rates{Messages: x.perSecond, Burst: 5 * time.Second},
			Modules: map[string]session.Module{"echo": echo{}},
		}
		play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
			carried := func(command string) (n int) {
				for give(t, s, c, command) == 0 {
					n++
				}
				return n
			}
			if dear, cheap := carried(`{"id":1,"cmd":"echo.shout"}`), carried(presence); dear != x.dear || cheap != x.cheap {
				t.Errorf("at once of %d a second: %d and then %d, want %d and %d", x.perSecond, dear, cheap, x.dear, x.cheap)
			}
		})
	}
}

// Who is mentioned counts, too.
func TestMentionsCount(t *testing.T) {
	limits := session.Limits{Outbox: 1 << 20, Rates: session.Rates{Messages: 2, Burst: 5 * time.Second}}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		const publish = `{"id":1,"cmd":"publish","room":"elsewhere","data":1,"mentions":["a","b","c","d"]}`
		var answers []string
		for range 3 {
			answers = append(answers, says(s, c, publish))
		}
		for i, want := range []protocol.Code{protocol.NotJoined, protocol.NotJoined, protocol.RateLimited} {
			if !strings.Contains(answers[i], string(want)) {
				t.Errorf("the %d. time: %s, want %s", i+1, answers[i], want)
			}
		}
	})
}

// What is said of the time to wait is rounded up: to come back then is enough.
func TestRatesRoundUp(t *testing.T) {
	limits := session.Limits{Outbox: 1 << 20, Rates: session.Rates{Messages: 3, Burst: time.Second}}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		for range 3 {
			give(t, s, c, presence)
		}
		for range 20 {
			wait := give(t, s, c, presence)
			if time.Sleep(time.Duration(wait) * time.Millisecond); give(t, s, c, presence) != 0 {
				t.Errorf("refused again after the %d ms that it was told to wait", wait)
			}
		}
	})
}

// Bytes are counted as commands are: who sends few long ones waits, too, and for
// as long as it takes.
func TestByteRate(t *testing.T) {
	limits := session.Limits{Outbox: 1 << 20, Rates: session.Rates{Messages: 100, Bytes: 1000, Burst: 2 * time.Second}}
	play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
		long := func(size int) string {
			begin := `{"id":1,"cmd":"signal","room":"lobby","data":"`
			return begin + strings.Repeat("x", size-len(begin)-2) + `"}`
		}
		if wait := give(t, s, c, long(1500)); wait != 0 {
			t.Errorf("to wait for %d ms", wait)
		}
		if wait := give(t, s, c, long(1250)); wait != 750 {
			t.Errorf("to wait for %d ms, want 750", wait)
		}
		if wait := give(t, s, c, long(500)); wait != 0 {
			t.Errorf("to wait for %d ms: what was refused has cost something", wait)
		}
	})
}

// Who goes on sending far more than it may is closed, whatever the frames are.
func TestFrames(t *testing.T) {
	for _, frame := range []string{presence, `{"id":1,"cmd":"dance"}`} {
		limits := session.Limits{Outbox: 1 << 20, Frames: 10, Rates: session.Rates{Messages: 1, Burst: 3 * time.Second}}
		play(t, limits, hub.Join{}, func(t *testing.T, s *session.Session, c *conn) {
			close(c.let)
			for i := range 10 { // 20 a second; 10 of them are too many
				for range 10 {
					s.Handle([]byte(frame))
				}
				synctest.Wait()
				if closed := c.code == protocol.CloseTooMany; closed != (i >= 5) {
					t.Fatalf("%s: after %d ms closed with %d", frame, i*500, c.code)
				}
				time.Sleep(500 * time.Millisecond)
			}
			c.let = make(chan struct{})
		})
	}
}

// Who has no limits is not limited.
func TestNoRates(t *testing.T) {
	inBubble(t, 1<<20, func(t *testing.T, s *session.Session, c *conn) {
		for i := range 300 {
			if wait := give(t, s, c, fmt.Sprintf(`{"id":%d,"cmd":"presence","room":"lobby"}`, i+1)); wait != 0 {
				t.Fatalf("command %d is to wait for %d ms", i, wait)
			}
		}
	})
}
