package chattest

import (
	"context"
	"testing"
	"time"
)

// Tickets is what gateway.Tickets is.
type Tickets interface {
	KeepTicket(ctx context.Context, id string, sealed []byte, life time.Duration) error
	LookTicket(ctx context.Context, id string) (sealed []byte, user string, err error)
	UseTicket(ctx context.Context, id, user string, life time.Duration) (ok bool, err error)
}

// TestTickets tells what every store of tickets must do. Gone returns when a ticket has
// lived for so long.
func TestTickets(t *testing.T, store Tickets, gone func(life time.Duration)) {
	const life = time.Minute
	keep := func(id string, life time.Duration) {
		t.Helper()
		if err := store.KeepTicket(t.Context(), id, []byte("sealed\x00"+id), life); err != nil {
			t.Fatal(err)
		}
	}
	look := func(id, sealed, user string) {
		t.Helper()
		got, by, err := store.LookTicket(t.Context(), id)
		if err != nil || string(got) != sealed || by != user {
			t.Errorf("%s = %q of %q, %v; want %q of %q", id, got, by, err, sealed, user)
		}
	}
	use := func(id, user string, life time.Duration, want bool) {
		t.Helper()
		if ok, err := store.UseTicket(t.Context(), id, user, life); err != nil || ok != want {
			t.Errorf("%s may use %s: %v, %v; want %v", user, id, ok, err, want)
		}
	}
	keep("one", life)
	keep("other", life)
	look("one", "sealed\x00one", "")
	look("none", "", "")
	use("none", "a", life, false)
	look("none", "", "")
	use("one", "a", life, true)
	use("one", "b", life, false)
	use("one", "a", life, true)
	look("one", "sealed\x00one", "a")
	look("other", "sealed\x00other", "")

	const soon = 50 * time.Millisecond
	keep("short", soon)
	keep("used", life)
	use("used", "a", soon, true)
	gone(soon)
	look("short", "", "")
	use("short", "a", life, false)
	look("used", "", "")
	look("one", "sealed\x00one", "a")
}
