package auth

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// Revocations are the users whose tokens, as far as they were issued before
// some moment, are good no more. Each is forgotten after a time, in which every
// such token has expired by itself.
//
// At most so many users are kept. Beyond that the half that was revoked first
// gives way to one moment for everybody: who comes with an older token needs a
// new one, and nobody who was revoked gets in.
type Revocations struct {
	// Static after construction.
	maxAge time.Duration
	most   int

	// Guarded by mu.
	mu        sync.RWMutex
	users     map[chat.UserID]revocation
	sweepAt   int // how many users are worth looking for forgotten ones
	everybody revocation
}

// A revocation holds for tokens that were issued until a moment.
type revocation struct{ until, said time.Time }

func (r revocation) holds(issued, now time.Time, maxAge time.Duration) bool {
	return !r.said.IsZero() && now.Sub(r.said) < maxAge && !issued.After(r.until)
}

// Bounds of Revocations.
const (
	maxRevocations = 100_000
	leastSweep     = 1024
	maxAhead       = 5 * time.Minute // by which clocks may differ
)

// NewRevocations returns an empty set. Its entries are forgotten after maxAge:
// Options.MaxLife with twice the leeway, or longer.
func NewRevocations(maxAge time.Duration) *Revocations {
	return &Revocations{maxAge: maxAge, most: maxRevocations, sweepAt: leastSweep, users: make(map[chat.UserID]revocation)}
}

// Revoke makes a user's tokens worthless that were issued at that moment or
// before. A moment that lies further ahead than clocks may differ is moved
// back to that.
func (r *Revocations) Revoke(user chat.UserID, before time.Time) {
	now := time.Now()
	if latest := now.Add(maxAhead); before.After(latest) {
		before = latest
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.users[user]; old.until.After(before) {
		before = old.until
	}
	r.users[user] = revocation{until: before, said: now}
	if len(r.users) >= r.sweepAt || len(r.users) > r.most {
		r.sweep(now)
	}
}

// RevokeEverybody makes everybody's tokens worthless that were issued at that
// moment or before: nobody knows any more whose were revoked by then.
func (r *Revocations) RevokeEverybody(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before.After(r.everybody.until) {
		r.everybody.until = before
	}
	if before.After(r.everybody.said) {
		r.everybody.said = before
	}
}

// Revoked says whether a token of this user, issued then, is worthless. One
// that does not say when (the zero time) is, when anything of the user's is.
func (r *Revocations) Revoked(user chat.UserID, issued time.Time) bool {
	now := time.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.users[user].holds(issued, now, r.maxAge) || r.everybody.holds(issued, now, r.maxAge)
}

// sweep forgets what is too old, and what there is no room for. The caller
// holds mu; it takes milliseconds, once for every thousand users or more.
func (r *Revocations) sweep(now time.Time) {
	maps.DeleteFunc(r.users, func(_ chat.UserID, v revocation) bool { return now.Sub(v.said) >= r.maxAge })
	if len(r.users) > r.most {
		oldest := slices.SortedFunc(maps.Keys(r.users), func(a, b chat.UserID) int {
			return cmp.Compare(r.users[a].said.UnixNano(), r.users[b].said.UnixNano())
		})
		for _, user := range oldest[:len(oldest)/2] {
			if v := r.users[user]; v.until.After(r.everybody.until) {
				r.everybody.until = v.until
			}
			delete(r.users, user)
		}
		r.everybody.said = now
	}
	r.sweepAt = max(leastSweep, 2*len(r.users))
}
