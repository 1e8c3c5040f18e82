package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hooks"
	"github.com/chatring/chatring/app/metrics"
)

// all is every event that there is.
var all = []string{hooks.RoomOccupied, hooks.RoomVacated, hooks.UserOnline, hooks.UserOffline, hooks.MessagePublished}

// telling builds webhooks that tell an application without a network.
func telling(t *testing.T, app http.Handler) (*hooks.Webhooks, *metrics.Hooks) {
	t.Helper()
	count := &metrics.New("1111", "test").Hooks
	w, err := hooks.NewWebhooks(hooks.WebhookOptions{
		URL: "http://app.example/events", Events: all, SecretFile: secretFile(t, secret1), Concurrency: 4, Transport: direct{app},
	}, count)
	if err != nil {
		t.Fatal(err)
	}
	return w, count
}

// id is that of an event that happens now.
func id(n int) string { return fmt.Sprintf("%d-%d", time.Now().UnixMilli(), n) }

func said(room, body string) map[string]string {
	return map[string]string{"type": "message_published", "room": room, "pos": "7-1", "from": "alice", "key": "k", "body": body}
}

// Each event is one signed request that says what has happened, when, and to
// whom.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1, answer: says(204, "")}
		w, _ := telling(t, app)
		const at = "2000-01-01T00:00:00.000Z"
		var want []map[string]any
		for i, c := range []struct {
			event map[string]string
			data  map[string]any
		}{
			{map[string]string{"type": "room_occupied", "room": "lobby"}, map[string]any{"room": "lobby"}},
			{map[string]string{"type": "room_vacated", "room": "lobby"}, map[string]any{"room": "lobby"}},
			{map[string]string{"type": "user_online", "room": "@auth0=7C5f"}, map[string]any{"user": "auth0|5f"}},
			{map[string]string{"type": "user_offline", "room": "@alice"}, map[string]any{"user": "alice"}},
			{said("lobby", `{"text":"<hi>"}`), map[string]any{"room": "lobby", "pos": "7-1", "from": "alice", "key": "k", "data": map[string]any{"text": "<hi>"}}},
			{
				map[string]string{"type": "message_published", "room": "@a+b", "pos": "7-2", "at": "946684799500", "from": "a", "key": "k", "about": `{"edits":{"pos":"7-1"}}`, "body": "1"},
				map[string]any{"room": "@a+b", "pos": "7-2", "from": "a", "key": "k", "about": map[string]any{"edits": map[string]any{"pos": "7-1"}}, "data": 1.0},
			},
		} {
			if err := w.Handle(t.Context(), id(i), c.event); err != nil {
				t.Errorf("%v: %v", c.event, err)
			}
			happened := at
			if c.event["at"] != "" {
				happened = "1999-12-31T23:59:59.500Z"
			}
			want = append(want, map[string]any{"type": c.event["type"], "timestamp": happened, "data": c.data})
		}
		if got := app.heard(t); !reflect.DeepEqual(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if got, want := app.ids[0], "evt_946684800000-0"; got != want {
			t.Errorf("webhook-id %s, want %s", got, want)
		}
	})
}

// What is no event is set aside, and nobody is told.
func TestNoEvents(t *testing.T) {
	app := &application{secret: secret1, answer: says(204, "")}
	w, _ := telling(t, app)
	for _, event := range []map[string]string{
		{"type": "user_online", "room": "lobby"},
		{"type": "message_published", "room": "lobby", "body": "{"},
		{"type": "room_occupied", "room": "lobby", "at": "noon"},
	} {
		if err := w.Handle(t.Context(), id(1), event); !errors.Is(err, hooks.ErrHopeless) {
			t.Errorf("%v: %v, want it set aside", event, err)
		}
	}
	if n := len(app.heard(t)); n > 0 {
		t.Errorf("told %d times", n)
	}
}

// The application is told of what it wants to know, and of nothing else: the
// queue may hold what others wanted.
func TestUnwantedEvents(t *testing.T) {
	app := &application{secret: secret1, answer: says(204, "")}
	count := &metrics.New("1111", "test").Hooks
	w, err := hooks.NewWebhooks(hooks.WebhookOptions{
		URL: "http://app.example/", SecretFile: secretFile(t, secret1), Concurrency: 1, Events: []string{hooks.UserOnline}, Transport: direct{app},
	}, count)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []map[string]string{nil, said("lobby", "1"), {"type": "room_burnt"}, {"type": "user_online", "room": "@alice"}} {
		if err := w.Handle(t.Context(), id(1), event); err != nil {
			t.Errorf("%v: %v", event, err)
		}
	}
	if got := app.heard(t); len(got) != 1 || got[0]["type"] != "user_online" {
		t.Errorf("told %v, want user_online alone", got)
	}
}

// An application that is away is asked by one event at a time, less and less
// often, once a minute at the least; when it is back everything goes on at once.
// Each event keeps its id, and is signed anew.
func TestApplicationIsAway(t *testing.T) {
	for name, away := range map[string]http.HandlerFunc{
		"503":   says(503, ""),
		"502":   says(502, ""),
		"504":   says(504, ""),
		"429":   says(429, ""),
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var back atomic.Bool
				app := &application{secret: secret1, answer: func(w http.ResponseWriter, r *http.Request) {
					if back.Load() {
						says(200, "thanks")(w, r)
					} else {
						away(w, r)
					}
				}}
				w, count := telling(t, app)
				q := hooks.NewMemory(100)
				stop := running(t, q, w)
				for i := range 20 {
					q.Add(said("lobby", fmt.Sprint(i)))
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				asked := len(app.heard(t))
				if asked < 60 || asked > 240 {
					t.Errorf("asked %d times within an hour, want it to be about every half a minute", asked)
				}
				if got := int(testutil.ToFloat64(count.Webhooks.WithLabelValues("away"))); got != asked && got != asked-1 { // one may be under way
					t.Errorf("%d times away, want %d", got, asked)
				}
				back.Store(true)
				time.Sleep(time.Minute + 10*time.Second)
				told := app.heard(t)[asked:]
				if len(told) != 20 || q.Backlog() != 0 {
					t.Fatalf("told %d events when it was back, %d wait; want all 20", len(told), q.Backlog())
				}
				for i, event := range told {
					if data := event["data"].(map[string]any)["data"]; data != float64(i) {
						t.Errorf("event %d says %v", i, data)
					}
				}
				if first := app.ids[:asked+1]; slices.ContainsFunc(first, func(id string) bool { return id != first[0] }) {
					t.Errorf("the ids of one event are %v, want them the same", first)
				}
				stop()
			})
		})
	}
}

// running has a queue's events told, until the test stops that.
func running(t *testing.T, q *hooks.Memory, w *hooks.Webhooks) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- q.Run(ctx, w.Handle) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Of events that are told at once while the application is away one at a time
// goes, and a failure of many together makes no longer pause than that of one.
func TestOneEventFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most, now atomic.Int64
		app := &application{secret: secret1, answer: func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(100 * time.Millisecond)
			now.Add(-1)
			says(503, "")(w, r)
		}}
		w, _ := telling(t, app)
		together := func() {
			done := make(chan error)
			for i := range 10 {
				go func() { done <- w.Handle(t.Context(), id(i), said("lobby", "1")) }()
			}
			for range 10 {
				if err := <-done; !errors.Is(err, chat.ErrUnavailable) {
					t.Errorf("%v, want it to come again", err)
				}
			}
		}
		together()
		if most.Load() != 10 {
			t.Errorf("%d at once before anybody knew, want 10", most.Load())
		}
		time.Sleep(time.Second) // the first pause is over by then, not a tenth one
		most.Store(0)
		together()
		if got := len(app.heard(t)); got != 11 || most.Load() != 1 {
			t.Errorf("asked %d times, %d at once; want 11 and one to find out", got, most.Load())
		}
	})
}

// How long the application asks to be left alone it is left alone, up to a minute.
func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{"30": 30 * time.Second, "86400": time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			app := &application{secret: secret1, answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", header)
				w.WriteHeader(503)
			}}
			w, _ := telling(t, app)
			begun := time.Now()
			for len(app.heard(t)) < 2 {
				_ = w.Handle(t.Context(), id(1), said("lobby", "1"))
				time.Sleep(time.Second)
			}
			if took := time.Since(begun); took < want || took > want+2*time.Second {
				t.Errorf("Retry-After %s: asked again after %v, want %v", header, took, want)
			}
		})
	}
}

// An answer that is about the event holds only that event. It comes again after
// pauses of its own, and is set aside after twelve answers, or when it is a day old.
func TestRefusedEvent(t *testing.T) {
	for _, status := range []int{500, 400, 401, 404, 410, 301} {
		synctest.Test(t, func(t *testing.T) {
			app := &application{secret: secret1}
			app.answer = func(w http.ResponseWriter, r *http.Request) {
				app.mu.Lock()
				data := app.asked[len(app.asked)-1]["data"].(map[string]any)
				app.mu.Unlock()
				if data["room"] == "cursed" {
					w.Header().Set("Location", "http://elsewhere.example/")
					says(status, "no")(w, r)
				} else {
					says(200, "")(w, r)
				}
			}
			w, count := telling(t, app)
			cursed, begun, refused := id(0), time.Now(), 0
			for n := 1; ; n++ {
				err := w.Handle(t.Context(), cursed, said("cursed", "1"))
				if errors.Is(err, hooks.ErrHopeless) {
					break
				}
				if !errors.Is(err, chat.ErrUnavailable) {
					t.Fatalf("%v, want it to come again", err)
				}
				if err := w.Handle(t.Context(), id(n), said("lobby", "1")); err != nil {
					t.Fatalf("another event: %v", err)
				}
				time.Sleep(time.Second)
			}
			for _, event := range app.heard(t) {
				if event["data"].(map[string]any)["room"] == "cursed" {
					refused++
				}
			}
			if took := time.Since(begun); refused != 12 || took < 20*time.Second || took > 12*time.Minute {
				t.Errorf("%d: set aside after %d answers and %v, want 12 within minutes", status, refused, took)
			}
			if got := testutil.ToFloat64(count.Webhooks.WithLabelValues("refused")); got != 12 {
				t.Errorf("%v times refused, want 12", got)
			}
		})
	}
}

// An event that nobody took within a day is set aside.
func TestEventOfYesterday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1, answer: says(503, "")}
		w, _ := telling(t, app)
		q := hooks.NewMemory(100)
		stop := running(t, q, w)
		q.Add(said("lobby", "1"))
		time.Sleep(23 * time.Hour)
		q.Add(said("lobby", "2"))
		if got := q.Backlog(); got != 2 {
			t.Errorf("%d wait after 23 hours, want 2", got)
		}
		time.Sleep(time.Hour + 2*time.Second)
		if got := q.Backlog(); got != 1 {
			t.Errorf("%d wait after a day, want 1", got)
		}
		stop()
	})
}

// In memory so many events wait and no more; the oldest go.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &application{secret: secret1, answer: says(200, "")}
		w, _ := telling(t, app)
		q := hooks.NewMemory(10)
		for i := range 25 {
			q.Add(said("lobby", fmt.Sprint(i)))
		}
		stop := running(t, q, w)
		synctest.Wait()
		stop()
		var got []string
		for _, event := range app.heard(t) {
			got = append(got, fmt.Sprint(event["data"].(map[string]any)["data"]))
		}
		if want := "15 16 17 18 19 20 21 22 23 24"; strings.Join(got, " ") != want {
			t.Errorf("told %v, want %s", got, want)
		}
	})
}
