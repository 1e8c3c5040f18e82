package services

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/chatring/chatring/app/chat"
)

// Rates are what a service may ask of a node, over time.
type Rates struct {
	Requests, Messages int           // each second; 0: no limit
	Burst              time.Duration // how long what was not asked for adds up
}

// A caller is what a service has left, and how many of its requests are worked on.
type caller struct {
	requests, messages budget
	working            atomic.Int64
}

// idle says that a fresh caller would be the same.
func (c *caller) idle() bool {
	return c.requests.full() && c.messages.full() && c.working.Load() == 0
}

// callers are the services that have called lately. One that is idle is forgotten.
type callers struct {
	// Static after construction.
	rates Rates

	// Guarded by mu.
	mu      sync.Mutex
	all     map[chat.UserID]*caller
	sweepAt int // how many callers are worth looking for forgotten ones
}

const leastSweep = 64

// of returns what a service has left.
func (s *callers) of(service chat.UserID) *caller {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.all[service]
	if c == nil {
		if len(s.all) >= s.sweepAt {
			s.sweep()
		}
		c = &caller{requests: newBudget("requests", s.rates.Requests, s.rates.Burst), messages: newBudget("messages", s.rates.Messages, s.rates.Burst)}
		s.all[service] = c
	}
	return c
}

func (s *callers) sweep() {
	for service, c := range s.all {
		if c.idle() {
			delete(s.all, service)
		}
	}
	s.sweepAt = max(leastSweep, 2*len(s.all))
}

// sayLimits tells in headers what is left, as draft-ietf-httpapi-ratelimit-headers-09
// spells it: q the quota, w the seconds in which it fills, r what remains, t the
// seconds until all of it does.
func (c *caller) sayLimits(h http.Header) {
	var policy, left string
	for _, b := range []*budget{&c.requests, &c.messages} {
		if b.limiter == nil {
			continue
		}
		if policy != "" {
			policy, left = policy+", ", left+", "
		}
		quota, window, remaining, until := b.state()
		policy += fmt.Sprintf("%q;q=%d;w=%d", b.name, quota, window)
		left += fmt.Sprintf("%q;r=%d;t=%d", b.name, remaining, until)
	}
	if policy != "" {
		h.Set("RateLimit-Policy", policy)
		h.Set("RateLimit", left)
	}
}

// A budget is a token bucket. It may be used concurrently.
type budget struct {
	name    string
	limiter *rate.Limiter // nil: no limit
}

func newBudget(name string, each int, burst time.Duration) budget {
	if each == 0 {
		return budget{name: name}
	}
	return budget{name, rate.NewLimiter(rate.Limit(each), max(1, int(float64(each)*burst.Seconds())))}
}

// take takes n, or says how long to wait until they are there.
func (b *budget) take(n int) (wait time.Duration) {
	if b.limiter == nil {
		return 0
	}
	now := time.Now()
	r := b.limiter.ReserveN(now, n)
	if !r.OK() { // more than ever fits
		return time.Duration(float64(n) / float64(b.limiter.Limit()) * float64(time.Second))
	}
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

func (b *budget) full() bool {
	return b.limiter == nil || b.limiter.Tokens() >= float64(b.limiter.Burst())
}

// state is the quota, the seconds in which it fills, what remains of it, and the
// seconds until all of it is there again.
func (b *budget) state() (quota, window, remaining, until int) {
	each, quota := float64(b.limiter.Limit()), b.limiter.Burst()
	tokens := min(max(0, b.limiter.Tokens()), float64(quota))
	return quota, int(math.Ceil(float64(quota) / each)), int(tokens), int(math.Ceil((float64(quota) - tokens) / each))
}
