package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// An ear is a hub.Receiver that notes the signals that it hears, and when.
type ear struct {
	began time.Time

	mu    sync.Mutex
	heard []string
}

func (e *ear) Send(b protocol.Batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f := range b.Frames() {
		if _, data, ok := strings.Cut(string(f.JSON()), `"data":`); ok {
			e.heard = append(e.heard, fmt.Sprintf("%s at %v", strings.TrimSuffix(data, "}"), time.Since(e.began)))
		}
	}
}

func (e *ear) Recover([]protocol.Batch) {}

// Of a member's signals the first is heard at once, and then one each quarter
// of a second, always the last, on every node; others' have their own time.
// What waits when the member leaves is not heard.
func TestSignalsAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		here, _ := start(t, cluster, "1111", options)
		there, _ := start(t, cluster, "2222", options)
		join := func(h *hub.Hub, user chat.UserID, e *ear) *hub.Member {
			m, err := h.Join(t.Context(), "lobby", hub.Join{User: user, Receiver: e, SignalEvery: 250 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		near, far := &ear{}, &ear{}
		alice, bob := join(here, "alice", &ear{}), join(here, "bob", near)
		join(there, "carol", far)
		near.began, far.began = time.Now(), time.Now()
		signal := func(m *hub.Member, data string) {
			t.Helper()
			if err := m.Signal([]byte(data)); err != nil {
				t.Error(err)
			}
		}
		for i := range 7 { // at 0, 90, … 540 ms
			signal(alice, fmt.Sprint(i))
			time.Sleep(90 * time.Millisecond)
		}
		time.Sleep(time.Second)
		signal(alice, `"again"`) // at 1.63 s: her last one was long ago
		signal(bob, `"bob"`)     // is not held up by hers
		signal(alice, `"lost"`)
		alice.Leave()
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"0 at 0s", "2 at 250ms", "5 at 500ms", "6 at 750ms", `"again" at 1.63s`}
		if !slices.Equal(near.heard, want) {
			t.Errorf("bob hears %q, want %q", near.heard, want)
		}
		if want := append(want, `"bob" at 1.63s`); !slices.Equal(far.heard, want) {
			t.Errorf("carol hears %q, want %q", far.heard, want)
		}
	})
}

// Without a time to wait every signal is heard at once.
func TestSignalsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := start(t, membroker.New(), "1111", options)
		e := &ear{began: time.Now()}
		var m *hub.Member
		for _, r := range []hub.Receiver{e, &ear{}} {
			var err error
			if m, err = h.Join(t.Context(), "lobby", hub.Join{User: "alice", Receiver: r}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			if err := m.Signal(fmt.Append(nil, i)); err != nil {
				t.Error(err)
			}
		}
		if want := []string{"0 at 0s", "1 at 0s", "2 at 0s"}; !slices.Equal(e.heard, want) {
			t.Errorf("heard %q, want %q", e.heard, want)
		}
	})
}
