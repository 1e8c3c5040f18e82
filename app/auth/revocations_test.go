package auth_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
)

// Revoking takes a user's tokens away that were issued until then, and those
// that do not say when; nobody else's, and none that are issued later.
func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := auth.NewRevocations(24 * time.Hour)
		at := time.Now()
		if r.Revoked("alice", at) || r.Revoked("alice", time.Time{}) {
			t.Error("revoked before anything was")
		}
		r.Revoke("alice", at)
		for _, c := range []struct {
			name   string
			user   chat.UserID
			issued time.Time
			want   bool
		}{
			{"issued before", "alice", at.Add(-time.Hour), true},
			{"issued in that second", "alice", at, true},
			{"issued later", "alice", at.Add(time.Second), false},
			{"issued nobody knows when", "alice", time.Time{}, true},
			{"another's", "bob", at.Add(-time.Hour), false},
			{"another's, issued nobody knows when", "bob", time.Time{}, false},
		} {
			if got := r.Revoked(c.user, c.issued); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
		// The latest counts, whatever comes after it.
		r.Revoke("alice", at.Add(-time.Hour))
		if !r.Revoked("alice", at) {
			t.Error("an older revocation took a newer one back")
		}
		r.Revoke("bob", at.Add(1000*time.Hour))
		if !r.Revoked("bob", at.Add(time.Minute)) || r.Revoked("bob", at.Add(time.Hour)) {
			t.Error("a moment far ahead counts as it is")
		}
	})
}

// When it is not known whose tokens were revoked, everybody's count as revoked,
// for as long as one of them might live.
func TestRevokeEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := auth.NewRevocations(24 * time.Hour)
		at := time.Now()
		r.RevokeEverybody(at.Add(-time.Hour))
		r.RevokeEverybody(at.Add(-2 * time.Hour)) // takes nothing back
		for _, issued := range []time.Time{{}, at.Add(-time.Hour)} {
			if !r.Revoked("alice", issued) {
				t.Errorf("a token issued at %v is good", issued)
			}
		}
		if r.Revoked("alice", at.Add(-time.Hour+time.Second)) {
			t.Error("a token issued later is worthless")
		}
		time.Sleep(23 * time.Hour)
		if r.Revoked("alice", time.Time{}) {
			t.Error("a day later, when no such token lives, it still holds")
		}
	})
}

// What has no use any more is forgotten, by the one who asks and in memory.
func TestRevocationsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := auth.NewRevocations(24 * time.Hour)
		at := time.Now()
		for n := range 5000 {
			r.Revoke(chat.UserID(fmt.Sprint("u", n)), at)
		}
		time.Sleep(24*time.Hour - time.Second)
		if !r.Revoked("u0", at) {
			t.Error("forgotten too early")
		}
		r.Revoke("u0", at) // once more: from here on it counts anew
		time.Sleep(time.Second)
		if r.Revoked("u1", at) || !r.Revoked("u0", at) {
			t.Error("what is a day old is to be forgotten, and nothing else")
		}
		for n := range 10_000 {
			r.Revoke(chat.UserID(fmt.Sprint("v", n)), at)
		}
		if got := r.Len(); got > 10_001 {
			t.Errorf("%d users are kept, want those of the last day", got)
		}
	})
}

// Beyond the bound, nobody who was revoked gets in: whoever has a token from
// those days needs a new one.
func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := auth.NewRevocations(24 * time.Hour)
		const most, all = 1000, 10_000
		r.SetMost(most)
		begun := time.Now()
		for n := range all {
			r.Revoke(chat.UserID(fmt.Sprint("u", n)), time.Now())
			if got := r.Len(); got > most {
				t.Fatalf("%d users are kept, want %d at the most", got, most)
			}
			time.Sleep(time.Second)
		}
		for n := range all {
			if user := chat.UserID(fmt.Sprint("u", n)); !r.Revoked(user, begun.Add(time.Duration(n)*time.Second)) {
				t.Fatalf("%s gets in again", user)
			}
		}
		if !r.Revoked("innocent", begun) {
			t.Error("an old token of somebody else is good: who then was forgotten?")
		}
		if r.Revoked("innocent", time.Now()) {
			t.Error("a fresh token of somebody else is refused")
		}
		time.Sleep(24 * time.Hour)
		if r.Revoked("innocent", begun) {
			t.Error("the moment for everybody is never forgotten")
		}
	})
}

// Sockets ask while revocations come in.
func TestRevocationsAtOnce(t *testing.T) {
	r := auth.NewRevocations(time.Hour)
	r.SetMost(100)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 1000 {
				user := chat.UserID(fmt.Sprint(g, "-", n))
				at := time.Now()
				r.Revoke(user, at)
				if !r.Revoked(user, at) {
					t.Errorf("%s is not revoked", user)
				}
			}
		})
	}
	wg.Wait()
}
