package memstore_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/memstore"
)

// Tickets in memory do what every store of tickets must do.
func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { chattest.TestTickets(t, memstore.NewTickets(), time.Sleep) })
}

// There is a most of tickets, and what is over makes place first.
func TestTicketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 10_000
		store := memstore.NewTickets()
		kept := func(name string) (n int) {
			for i := range most + 100 {
				if sealed, _, _ := store.LookTicket(t.Context(), fmt.Sprint(name, i)); sealed != nil {
					n++
				}
			}
			return n
		}
		keep := func(name string) {
			for i := range most + 100 {
				_ = store.KeepTicket(t.Context(), fmt.Sprint(name, i), []byte("x"), time.Minute)
			}
		}
		keep("a")
		if n := kept("a"); n != most {
			t.Errorf("%d tickets are kept, want %d", n, most)
		}
		time.Sleep(time.Hour)
		keep("b")
		if n := kept("b"); n != most {
			t.Errorf("%d tickets are kept when those before are over, want %d", n, most)
		}
	})
}
