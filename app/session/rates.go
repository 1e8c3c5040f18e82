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
	Messages int // commands; one that is dear counts as many
	Bytes    int // of commands
	// Burst is for how long what was not sent adds up, to be sent at once.
	Burst time.Duration
}

// An Allowance is what may be sent at the moment: by one session, or by all of a
// user's. It takes memory from its first use on, and is as good as a fresh one
// when it has not been used for a burst. It may be used concurrently.
type Allowance struct {
	Rates   *Rates // static
	buckets atomic.Pointer[buckets]
	rooms   atomic.Int32 // that all sessions of the user are in, each for itself
}

// Used says whether anything was ever taken from it.
func (a *Allowance) Used() bool { return a.buckets.Load() != nil }

type buckets struct {
	mu              sync.Mutex // held while a command takes, or takes nothing after all
	messages, bytes *rate.Limiter
}

func (a *Allowance) fill() *buckets {
	if b := a.buckets.Load(); b != nil {
		return b
	}
	a.buckets.CompareAndSwap(nil, &buckets{messages: bucket(a.Rates.Messages, a.Rates.Burst), bytes: bucket(a.Rates.Bytes, a.Rates.Burst)})
	return a.buckets.Load()
}

// bucket is full of what may be sent in burst; nil: there is no limit.
func bucket(perSecond int, burst time.Duration) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(float64(perSecond)*burst.Seconds()))
}

// dear is as how many commands one counts for which Redis looks at hundreds of things:
// nobody is to keep it from others by asking for them.
const dear = 20

func (s *Session) price(b protocol.Body) int {
	switch b := b.(type) {
	case protocol.Publish:
		return 1 + len(b.Mentions) // each is an append of its own
	case protocol.Rooms:
		return dear
	case protocol.Forget:
		if b.Hidden {
			return dear
		}
	case protocol.Call:
		if m := s.limits.Modules[b.Module]; m != nil && m.Dear(b.Verb) {
			return dear
		}
	}
	return 1
}

// atMost is a price that a bucket can hold.
func atMost(bucket *rate.Limiter, price int) int {
	if bucket == nil {
		return price
	}
	return min(price, max(1, bucket.Burst()))
}

// spend takes a command of a price and so many bytes out of the session's allowance and out
// of its user's. When one of them does not have it, it takes nothing, and
// returns what to tell the client: when it will.
func (s *Session) spend(price, size int) *protocol.Error {
	own, shared := s.own.fill(), s.shared.fill()
	shared.mu.Lock() // what is there now is there when it is taken
	defer shared.mu.Unlock()
	now := time.Now()
	costs := [...]struct {
		of     string
		bucket *rate.Limiter
		n      int
	}{
		{"session_messages", own.messages, atMost(own.messages, price)},
		{"session_bytes", own.bytes, size},
		{"user_messages", shared.messages, atMost(shared.messages, price)},
		{"user_bytes", shared.bytes, size},
	}
	var wait time.Duration
	var of string
	for _, c := range costs {
		if d := waitFor(c.bucket, now, c.n); d > wait {
			wait, of = d, c.of
		}
	}
	if wait == 0 {
		for _, c := range costs {
			if c.bucket != nil {
				c.bucket.AllowN(now, c.n)
			}
		}
		return nil
	}
	s.count.RateLimited.WithLabelValues(of).Inc()
	return &protocol.Error{
		Code: protocol.RateLimited, Message: "more than may be sent: wait, and send it again",
		Temporary: true, RetryAfterMS: int64((wait + time.Millisecond - 1) / time.Millisecond),
	}
}

// waitFor is how long it takes until a bucket has n.
func waitFor(bucket *rate.Limiter, now time.Time, n int) time.Duration {
	if bucket == nil {
		return 0
	}
	missing := float64(n) - bucket.TokensAt(now)
	return time.Duration(max(0, missing) / float64(bucket.Limit()) * float64(time.Second))
}

// countFrame says whether the client may send another frame. One that goes on
// far beyond its rates is not told so each time, but closed.
func (s *Session) countFrame() bool {
	if s.frames == nil {
		s.frames = bucket(s.limits.Frames, s.limits.Rates.Burst)
	}
	if s.frames == nil || s.frames.Allow() {
		return true
	}
	s.count.RateLimited.WithLabelValues("session_frames").Inc()
	s.Close(protocol.CloseTooMany)
	return false
}
