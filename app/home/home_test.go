package home_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/home"
	"github.com/chatring/chatring/app/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A scene is node 1111 and all that a guide sees of the world: HAProxy, the
// node's own sockets, and what the other nodes are told.
type scene struct {
	*home.Guide
	t     *testing.T
	born  time.Time
	began time.Time // what is told from then on
	count metrics.Home

	// Guarded by mu.
	mu     sync.Mutex
	ring   func(room string) string // the home of a room; nil: HAProxy is down
	answer func(room string) (status int, body string)
	asked  int // for rooms that are no probes
	rooms  []chat.RoomID
	since  map[chat.RoomID]time.Time // when a room's member came; none: when the scene began
	stick  bool                      // members come back here at once, whatever the ring says
	told   []string
	sent   []string
	away   []string // rooms found elsewhere, and their homes
	ledTo  []string // rooms whose members were led home
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, born: time.Now(), began: time.Now(), since: map[chat.RoomID]time.Time{}, count: metrics.New("1111", "test").Home}
	s.Guide = home.New(s, home.Options{AppID: "1111", URL: "http://haproxy", Open: s.open, Away: s.foundAway, Led: s.ledHome, Transport: s}, &s.count)
	return s
}

func (s *scene) foundAway(homes map[chat.RoomID]string) {
	s.change(func() {
		for _, room := range slices.Sorted(maps.Keys(homes)) {
			s.away = append(s.away, fmt.Sprint(room, " ", homes[room]))
		}
	})
}

func (s *scene) ledHome(rooms map[chat.RoomID]bool, sockets int) {
	s.change(func() { s.ledTo = append(s.ledTo, fmt.Sprint(slices.Sorted(maps.Keys(rooms)), " ", sockets)) })
}

// change changes what the guide sees.
func (s *scene) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// RoundTrip is HAProxy.
func (s *scene) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room, ok := strings.CutPrefix(r.URL.Path, "/shard/")
	if !ok || r.URL.Host != "haproxy" {
		s.t.Errorf("asked for %s", r.URL)
	}
	if !strings.HasPrefix(room, "ring-probe-") {
		s.asked++
	}
	if s.ring == nil {
		return nil, errors.New("connection refused")
	}
	status, body := http.StatusOK, fmt.Sprintf(`{"room":%q,"shard":%q}`, room, s.ring(room))
	if s.answer != nil {
		status, body = s.answer(room)
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (s *scene) open(rooms map[string][]chat.RoomID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, appid := range slices.Sorted(maps.Keys(rooms)) {
		slices.Sort(rooms[appid])
		s.told = append(s.told, fmt.Sprint(appid, rooms[appid]))
	}
	return nil
}

// Rooms implements home.Sockets.
func (s *scene) Rooms(after, until time.Time) []chat.RoomID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rooms []chat.RoomID
	for _, room := range s.rooms {
		came, ok := s.since[room]
		if !ok {
			came = s.born
		}
		if came.After(after) && !came.After(until) {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// SendAway implements home.Sockets; each room has one member.
func (s *scene) SendAway(ctx context.Context, rooms map[chat.RoomID]time.Time, ahead func(context.Context, []chat.RoomID) []chat.RoomID) (sent int) {
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		s.mu.Lock()
		stays := !s.since[room].Before(rooms[room])
		s.mu.Unlock()
		if stays {
			continue
		}
		if slices.Contains(ahead(ctx, []chat.RoomID{room}), room) {
			continue
		}
		s.change(func() {
			sent++
			s.sent = append(s.sent, fmt.Sprintf("%s after %v", room, time.Since(s.began).Round(time.Second)))
			if s.since[room] = time.Now(); !s.stick {
				s.rooms = slices.DeleteFunc(s.rooms, func(r chat.RoomID) bool { return r == room })
			}
		})
	}
	return sent
}

// led returns who has been sent away since it was last called.
func (s *scene) led() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

// run runs the guide until the test ends.
func (s *scene) run() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			s.t.Errorf("Run = %v", err)
		}
	})
}

// two is a ring of the nodes 1111 and 2222: rooms that begin with b are on the
// second, and some of the probes.
func two(room string) string {
	if strings.HasPrefix(room, "b") || strings.HasSuffix(room, "7") {
		return "2222"
	}
	return "1111"
}

// one is the ring without the second node.
func one(string) string { return "1111" }

// Before members leave, each of their rooms is opened at its next home.
func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring = func(room string) string { return map[string]string{"a": "2222", "b": "3333", "c": "2222"}[room] }
		if stay := s.Announce(t.Context(), []chat.RoomID{"a", "b", "c"}); len(stay) > 0 {
			t.Errorf("%v stay", stay)
		}
		if want := []string{"2222[a c]", "3333[b]"}; !slices.Equal(s.told, want) {
			t.Errorf("told %v, want %v", s.told, want)
		}
	})
}

// While HAProxy still sends a room here, as after a reload, the announcement
// waits: its members would come back to a node that goes.
func TestAnnounceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring = two
		go func() {
			time.Sleep(time.Second)
			s.change(func() { s.ring = func(string) string { return "2222" } })
		}()
		s.Announce(t.Context(), []chat.RoomID{"a", "b"})
		if want := []string{"2222[b]", "2222[a]"}; !slices.Equal(s.told, want) {
			t.Errorf("told %v, want %v", s.told, want)
		}
		if took := time.Since(s.began); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

// An announcement ends with its context, and at once when HAProxy does not
// answer, or says that no node is there.
func TestAnnounceGivesUp(t *testing.T) {
	for name, set := range map[string]func(*scene){
		"down":    func(*scene) {},
		"no node": func(s *scene) { s.ring, s.answer = one, func(string) (int, string) { return 503, `{"error":{}}` } },
		"a page":  func(s *scene) { s.ring, s.answer = one, func(string) (int, string) { return 200, `<html>` } },
		"nonsense": func(s *scene) {
			s.ring, s.answer = one, func(string) (int, string) { return 200, `{"room":"z","shard":"2222"}` }
		},
		"an error": func(s *scene) {
			s.ring, s.answer = one, func(room string) (int, string) { return 500, fmt.Sprintf(`{"room":%q,"shard":"2222"}`, room) }
		},
		"nobody":   func(s *scene) { s.ring = func(string) string { return "" } },
		"for ever": func(s *scene) { s.ring = one },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				set(s)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				s.Announce(ctx, []chat.RoomID{"a", "b"})
				took, want := time.Since(s.began), time.Duration(0)
				if name == "for ever" {
					want = 2 * time.Second
				}
				if took != want || len(s.told) > 0 {
					t.Errorf("took %v, want %v; told %v", took, want, s.told)
				}
			})
		})
	}
}

// After a node has come back to the ring, the members of its rooms are led
// there, once, when that has stood for some seconds; the others stay.
func TestLeadHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring, s.rooms = one, []chat.RoomID{"a", "b1", "b2", "c"}
		s.run()
		time.Sleep(time.Minute)
		if got := s.led(); len(got) > 0 {
			t.Errorf("led %v while the ring stood", got)
		}
		s.change(func() { s.ring, s.began = two, time.Now() })
		time.Sleep(time.Minute)
		got := s.led()
		if len(got) != 2 || !strings.HasPrefix(got[0], "b1 ") || !strings.HasPrefix(got[1], "b2 ") {
			t.Fatalf("led %v, want b1 and b2", got)
		}
		for _, g := range got {
			_, after, _ := strings.Cut(g, " after ")
			if d, _ := time.ParseDuration(after); d < 5*time.Second || d > 11*time.Second {
				t.Errorf("led %s, want after 5s and before 11s", g)
			}
		}
		if want := []string{"2222[b1]", "2222[b2]"}; !slices.Equal(s.told, want) {
			t.Errorf("told %v, want %v", s.told, want)
		}
		if !slices.Equal(s.away, []string{"b1 2222", "b2 2222"}) || !slices.Equal(s.ledTo, []string{"[b1 b2] 2"}) {
			t.Errorf("found %v elsewhere, and led those of %v", s.away, s.ledTo)
		}
		if got := testutil.ToFloat64(s.count.Led); got != 2 {
			t.Errorf("led_home_total = %v, want 2", got)
		}
		if got := testutil.ToFloat64(s.count.Away); got != 0 {
			t.Errorf("rooms_away = %v, want 0", got)
		}
	})
}

// Nobody is led where the second look does not find what the first did.
func TestTwoLooks(t *testing.T) {
	for name, second := range map[string]func(string) string{
		"it flaps":         one,
		"another node":     func(string) string { return "3333" },
		"HAProxy is gone":  nil,
		"it is ambiguous":  func(string) string { return "" },
		"it stands though": two,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.ring, s.rooms = one, []chat.RoomID{"b"}
				s.run()
				time.Sleep(6 * time.Second)
				s.change(func() { s.ring = two })
				for testutil.ToFloat64(s.count.Away) == 0 {
					time.Sleep(100 * time.Millisecond)
				}
				s.change(func() { s.ring = second })
				time.Sleep(6 * time.Second)
				if got, want := len(s.led()), map[bool]int{true: 1}[name == "it stands though"]; got != want {
					t.Errorf("%d led, want %d", got, want)
				}
			})
		})
	}
}

// A deaf HAProxy takes questions and does not answer, and counts them.
type deaf struct {
	mu      sync.Mutex
	waiting int
	most    int
}

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	d.waiting++
	d.most = max(d.most, d.waiting)
	d.mu.Unlock()
	<-r.Context().Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	return nil, r.Context().Err()
}

// A HAProxy that takes questions and does not answer is given up after a second,
// and is not asked everything at once.
func TestDeafHAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newScene(t), &deaf{}
		g := home.New(s, home.Options{AppID: "1111", URL: "http://haproxy", Open: s.open, Transport: d}, &s.count)
		g.Announce(t.Context(), slices.Repeat([]chat.RoomID{"a"}, 100))
		if took := time.Since(s.began); took != time.Second || d.most != 8 {
			t.Errorf("took %v, with %d questions at once; want 1s and 8", took, d.most)
		}
	})
}

// Whoever came before the guide had looked at the ring for the first time, while
// the other nodes were not on it yet, is led home soon.
func TestFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring, s.rooms = two, []chat.RoomID{"a", "b"}
		s.run()
		time.Sleep(30 * time.Second)
		if got := s.led(); len(got) != 1 || !strings.HasPrefix(got[0], "b ") {
			t.Errorf("led %v, want b", got)
		}
	})
}

// A member that sits elsewhere though the ring stands, is found in a while.
func TestSlowRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring = two
		s.run()
		time.Sleep(10 * time.Second)
		s.change(func() { s.rooms = []chat.RoomID{"b"} })
		time.Sleep(6 * time.Minute)
		if got := s.led(); len(got) != 1 {
			t.Errorf("led %v, want b", got)
		}
	})
}

// A member that came while its home was away for moments, between two looks at
// the ring, is led there once it has settled, and not asked about again and
// again.
func TestShortAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring = two
		s.run()
		time.Sleep(time.Minute)
		s.change(func() {
			s.rooms, s.began = []chat.RoomID{"a", "b"}, time.Now()
			s.since["a"], s.since["b"] = s.began, s.began
		})
		time.Sleep(9 * time.Second)
		if got := s.led(); len(got) > 0 {
			t.Errorf("led %v within 9 s", got)
		}
		time.Sleep(12 * time.Second)
		if got := s.led(); len(got) != 1 || !strings.HasPrefix(got[0], "b ") {
			t.Errorf("led %v, want b", got)
		}
		s.change(func() { s.asked = 0 })
		time.Sleep(30 * time.Second)
		s.change(func() {
			if s.asked > 0 {
				t.Errorf("asked %d times more for rooms that are known", s.asked)
			}
		})
	})
}

// A member that has only just come is left alone at first.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring, s.rooms = one, []chat.RoomID{"b"}
		s.run()
		time.Sleep(time.Minute)
		s.change(func() { s.ring, s.began, s.since["b"] = two, time.Now(), time.Now() })
		time.Sleep(10 * time.Second)
		if got := s.led(); len(got) > 0 {
			t.Errorf("led %v", got)
		}
		time.Sleep(time.Minute)
		if got := s.led(); len(got) != 1 {
			t.Errorf("led %v, want it once it had settled", got)
		}
	})
}

// Members who come back here each time, since something other than this ring
// sends them, are led less and less often, though the ring changes all the time.
// Once they have stayed away, that is forgotten.
func TestComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.ring, s.stick = two, true
		s.run()
		led := func(d time.Duration) int {
			for until := time.Now().Add(d); time.Now().Before(until); {
				for _, third := range []string{"3333", "1111"} {
					s.change(func() {
						s.ring = func(room string) string {
							if strings.HasSuffix(room, "3") {
								return third
							}
							return two(room)
						}
					})
					time.Sleep(20 * time.Second)
				}
			}
			return len(s.led())
		}
		s.change(func() { s.rooms = []chat.RoomID{"b"} })
		if got := led(16 * time.Minute); got < 4 || got > 6 {
			t.Errorf("led %d times, want after 30 s, 1, 2, 4 and 8 minutes", got)
		}
		s.change(func() { s.rooms = nil })
		time.Sleep(20 * time.Minute)
		s.change(func() { s.rooms = []chat.RoomID{"b"} })
		if got := led(4 * time.Minute); got < 2 {
			t.Errorf("led %d times when they were here again, want a few", got)
		}
	})
}

// Without an address of HAProxy nothing is asked and nobody led.
func TestOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		g := home.New(s, home.Options{AppID: "1111", Transport: s, Open: s.open}, &s.count)
		if err := g.Run(t.Context()); err != nil || time.Since(s.began) > 0 {
			t.Errorf("Run = %v", err)
		}
		g.Announce(t.Context(), []chat.RoomID{"a"})
	})
}
