package services_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/services"
)

// Each service has so many requests a second, which add up for a while; it is told
// what is left, and when to come back. Others have their own.
func TestRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(s *scene) { s.opts.Rates = services.Rates{Requests: 2, Burst: 5 * time.Second} })
		get := func(headers ...string) answer { return s.ask("GET", "/api/users/alice", "", headers...) }
		for left := 9; left >= 0; left-- {
			a := get().says(`{}`)
			if got, want := a.Header().Get("RateLimit"), fmt.Sprintf(`"requests";r=%d;t=%d`, left, (10-left+1)/2); got != want {
				t.Errorf("RateLimit: %s, want %s", got, want)
			}
			if got, want := a.Header().Get("RateLimit-Policy"), `"requests";q=10;w=5`; got != want {
				t.Errorf("RateLimit-Policy: %s, want %s", got, want)
			}
		}
		a := get().refused(http.StatusTooManyRequests, "rate_limited")
		if e, _ := a.said["error"].(map[string]any); e["retry_after_ms"] != 500.0 || a.Header().Get("Retry-After") != "1" {
			t.Errorf("%v, Retry-After %s, want half a second", e, a.Header().Get("Retry-After"))
		}
		if got := a.Header().Get("RateLimit"); got != `"requests";r=0;t=5` {
			t.Errorf("RateLimit: %s", got)
		}
		get("Authorization: Bearer shop read").says(`{}`)
		time.Sleep(500 * time.Millisecond)
		get().says(`{}`)
		get().refused(http.StatusTooManyRequests, "rate_limited")
		if got := s.counted("chatring_api_rate_limited_total", "requests"); got != 2 {
			t.Errorf("%v refusals counted, want 2", got)
		}
	})
}

// Messages are counted one by one, whatever the request: a batch that is more than
// the service has left is refused as a whole, and costs nothing.
func TestMessageRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(s *scene) { s.opts.Rates = services.Rates{Messages: 10, Burst: time.Second} })
		const batch = `{"users":["a","b","c","d"],"data":1}`
		for range 2 {
			s.ask("POST", "/api/notifications", batch).says(`{"sent":4}`)
		}
		a := s.ask("POST", "/api/notifications", batch).refused(http.StatusTooManyRequests, "rate_limited")
		if e, _ := a.said["error"].(map[string]any); e["retry_after_ms"] != 200.0 {
			t.Errorf("%v, want to come back when two more are there", e)
		}
		s.ask("POST", "/api/messages", `{"messages":[{"room":"lobby","data":1},{"room":"a b","data":1}]}`).says(`{"sent":1,"failed":1}`) // of which one is none
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).says(`{}`)
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).refused(http.StatusTooManyRequests, "rate_limited")
		s.ask("POST", "/api/users/alice/notifications", `{"data":1}`).refused(http.StatusTooManyRequests, "rate_limited")
		s.ask("GET", "/api/rooms/lobby/messages", "").says(`{}`)
		time.Sleep(400 * time.Millisecond)
		s.ask("POST", "/api/notifications", batch).says(`{"sent":4}`)
		if got := len(s.kept("@d")); got != 3 {
			t.Errorf("d has %d notifications, want 3", got)
		}
		if got := s.counted("chatring_api_messages_total", "user"); got != 12 {
			t.Errorf("%v messages to users counted, want 12", got)
		}
	})
}

// Of services that were there once nothing is left.
func TestCallersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(s *scene) { s.opts.Rates = services.Rates{Requests: 1, Burst: time.Second} })
		api := services.New(s.hub, s.nodes, tokens{}, nil, s.opts, &s.count.Services)
		s.handler = api.Handler()
		for i := range 1000 {
			s.ask("GET", "/api/users/alice", "", fmt.Sprintf("Authorization: Bearer shop-%d read", i)).says(`{}`)
			time.Sleep(100 * time.Millisecond)
		}
		if got := services.Callers(api); got > 200 {
			t.Errorf("%d services are remembered, want the last few", got)
		}
	})
}

// A slow hub answers when it is let go.
type slow struct {
	services.Hub
	posting atomic.Int32
	most    atomic.Int32
	goOn    chan struct{} // each post takes a token; closed: all go on
}

func (h *slow) Post(ctx context.Context, d chat.Draft) (chat.Publication, error) {
	n := h.posting.Add(1)
	defer h.posting.Add(-1)
	for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
	}
	select {
	case <-h.goOn:
	case <-ctx.Done():
		return chat.Publication{}, fmt.Errorf("%w: %w", chat.ErrUnavailable, ctx.Err())
	}
	d.Key = cmp.Or(d.Key, "made")
	return chat.Publication{Draft: d, Position: chat.Position{Epoch: 1}}, nil
}

func (h *slow) Reach(_ context.Context, rooms []chat.RoomID) []hub.Reach {
	return make([]hub.Reach, len(rooms))
}

func (s *scene) slowed() *slow {
	h := &slow{goOn: make(chan struct{})}
	s.handler = services.New(h, s.nodes, tokens{}, nil, s.opts, &s.count.Services).Handler()
	return h
}

// A node works on so many requests at once and refuses the next, so that no flood of
// them takes the processor from the sockets. Half of the places are for other
// services; strangers take none.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		h := s.slowed()
		var asked sync.WaitGroup
		for _, service := range []string{"billing", "shop"} {
			for range s.opts.InFlight / 2 {
				asked.Go(func() {
					s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, "Authorization: Bearer "+service+" publish").says(`{"pos":"1-0"}`)
				})
			}
			synctest.Wait()
			s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, "Authorization: Bearer "+service+" publish").refused(http.StatusServiceUnavailable, "unavailable")
		}
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, "Authorization: Bearer third publish").refused(http.StatusServiceUnavailable, "unavailable")
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`, "Authorization: Bearer alice").refused(http.StatusForbidden, "forbidden")
		if got := s.counted("chatring_api_rate_limited_total", "in_flight"); got != 3 {
			t.Errorf("%v refusals counted, want 3", got)
		}
		close(h.goOn)
		asked.Wait()
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).says(`{"pos":"1-0"}`)
	})
}

// What waits for the log has a bound in bytes for all requests together. Within it
// many messages go at once, and none waits for its neighbour.
func TestAppendsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(s *scene) { s.opts.QueueBytes = 400 << 10 })
		h := s.slowed()
		var asked sync.WaitGroup
		for i := range 3 {
			var users []string
			for k := range 100 {
				users = append(users, fmt.Sprintf("user-%d-%d", i, k))
			}
			asked.Go(func() {
				s.ask("POST", "/api/notifications", `{"data":1,"users":["`+strings.Join(users, `","`)+`"]}`).says(`{"sent":100,"failed":0}`)
			})
		}
		synctest.Wait()
		const least, most = 95, 100 // 400 KiB, each 4 KiB and its data
		if got := h.posting.Load(); got < least || got > most {
			t.Errorf("%d appends at once, want %d to %d", got, least, most)
		}
		close(h.goOn)
		asked.Wait()
		if got := h.most.Load(); got > most {
			t.Errorf("%d appends at once, want %d at the most", got, most)
		}
	})
}

// A log that is silent is waited for as long as a command may take, by all messages
// of a request together; what was appended by then is.
func TestSilentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		h := s.slowed()
		began := time.Now()
		s.ask("POST", "/api/rooms/lobby/messages", `{"data":1}`).refused(http.StatusServiceUnavailable, "unavailable")
		if took := time.Since(began); took != s.opts.Timeout {
			t.Errorf("refused after %v, want %v", took, s.opts.Timeout)
		}
		go func() {
			for range 3 {
				h.goOn <- struct{}{}
			}
		}()
		began = time.Now()
		s.ask("POST", "/api/messages", `{"messages":[`+strings.Repeat(`{"room":"lobby","data":1},`, 9)+`{"room":"lobby","data":1}]}`).says(`{"sent":3,"failed":7}`)
		if took := time.Since(began); took != s.opts.Timeout {
			t.Errorf("answered after %v, want %v", took, s.opts.Timeout)
		}
	})
}

// A service that has gone is not worked for.
func TestCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t)
		s.slowed()
		ctx, leave := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/rooms/lobby/messages", strings.NewReader(`{"data":1}`))
		r.Header = http.Header{"Authorization": {"Bearer " + everything}, "Content-Type": {"application/json"}}
		time.AfterFunc(time.Second, leave)
		began := time.Now()
		s.send(r)
		if took := time.Since(began); took != time.Second {
			t.Errorf("worked on for %v, want until it left", took)
		}
	})
}

// A body that breaks off is refused.
func TestBodyBreaksOff(t *testing.T) {
	s := play(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/rooms/lobby/messages", io.MultiReader(strings.NewReader(`{"data":`), broke{}))
	r.Header = http.Header{"Authorization": {"Bearer " + everything}, "Content-Type": {"application/json"}}
	s.send(r).refused(http.StatusBadRequest, "bad_request")
}

type broke struct{}

func (broke) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Requests are counted by route and status; what is none of ours under one name,
// so that nobody makes up labels.
func TestRequestsAreCounted(t *testing.T) {
	s := play(t)
	s.ask("GET", "/api/rooms/lobby", "").says(`{}`)
	s.ask("GET", "/api/rooms/team", "").says(`{}`)
	s.ask("GET", "/api/rooms/a%20b", "").refused(http.StatusBadRequest, "bad_room")
	s.ask("GET", "/api/nothing", "").refused(http.StatusNotFound, "not_found")
	for labels, want := range map[[2]string]float64{
		{"GET /api/rooms/{room}", "200"}: 2, {"GET /api/rooms/{room}", "400"}: 1, {"other", "404"}: 1,
	} {
		if got := s.counted("chatring_api_requests_total", labels[:]...); got != want {
			t.Errorf("%v: %v counted, want %v", labels, got, want)
		}
	}
}

// counted returns what a counter with these labels, in the order of their names, has.
func (s *scene) counted(name string, labels ...string) float64 {
	s.Helper()
	families, err := s.count.Registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if f.GetName() == name && strings.Join(have, " ") == strings.Join(labels, " ") {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
