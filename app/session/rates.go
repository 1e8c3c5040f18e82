package session

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/chatring/chatring/app/protocol"
)

// Rates are how much may be sent each second, over time. 0: no limit.
type Rates struct {
	Messages int // commands, whatever they ask
	Bytes    int // of commands
}

// limiter is a token bucket for so many a second, full after burst; nil for 0.
func limiter(perSecond int, burst time.Duration) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(float64(perSecond)*burst.Seconds()))
}

// An Allowance is what may be sent at the moment: by one session, or by all of a
// user's. It takes memory from its first use on, and is as good as a fresh one
// when it has not been used for the burst. It may be used concurrently.
type Allowance struct {
	rates Rates
	burst time.Duration

	once            sync.Once
	used            atomic.Bool
	messages, bytes *rate.Limiter
}

// NewAllowance returns an allowance of which up to burst's worth may be used at
// once.
func NewAllowance(rates Rates, burst time.Duration) *Allowance {
	return &Allowance{rates: rates, burst: burst}
}

// Used says whether anything was ever taken from it.
func (a *Allowance) Used() bool { return a.used.Load() }

func (a *Allowance) limiters() (messages, bytes *rate.Limiter) {
	a.once.Do(func() {
		a.used.Store(true)
		a.messages, a.bytes = limiter(a.rates.Messages, a.burst), limiter(a.rates.Bytes, a.burst)
	})
	return a.messages, a.bytes
}

// spend takes a command of so many bytes out of the session's allowance and out
// of its user's. When one of them does not have it, it takes nothing, and
// returns what to tell the client: when it will.
func (s *Session) spend(size int) *protocol.Error {
	if s.own == nil {
		s.own = NewAllowance(s.limits.Rates, s.limits.Burst)
	}
	now := time.Now()
	var wait time.Duration
	var of string
	var taken [4]*rate.Reservation
	reserve := func(i int, name string, l *rate.Limiter, n int) {
		if l == nil {
			return
		}
		taken[i] = l.ReserveN(now, n)
		if d := taken[i].DelayFrom(now); d > wait {
			wait, of = d, name
		}
	}
	messages, bytes := s.own.limiters()
	reserve(0, "session_messages", messages, 1)
	reserve(1, "session_bytes", bytes, size)
	messages, bytes = s.shared.limiters()
	reserve(2, "user_messages", messages, 1)
	reserve(3, "user_bytes", bytes, size)
	if wait == 0 {
		return nil
	}
	for _, r := range taken {
		if r != nil {
			r.CancelAt(now)
		}
	}
	s.count.RateLimited.WithLabelValues(of).Inc()
	return &protocol.Error{
		Code: protocol.RateLimited, Message: "more than may be sent: wait, and send it again",
		Temporary: true, RetryAfterMS: int64((wait + time.Millisecond - 1) / time.Millisecond),
	}
}

// countFrame says whether the client may send another frame. One that goes on
// far beyond its rates is not told so each time, but closed.
func (s *Session) countFrame() bool {
	if s.frames == nil {
		if s.frames = limiter(s.limits.Frames, s.limits.Burst); s.frames == nil {
			return true
		}
	}
	if s.frames.Allow() {
		return true
	}
	s.count.RateLimited.WithLabelValues("session_frames").Inc()
	s.Close(protocol.CloseTooMany)
	return false
}
