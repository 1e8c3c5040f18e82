package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
)

// A moment is where in a call of the broker a fault strikes.
type moment string

const (
	beforeRead     moment = "before ReadAfter"
	afterRead      moment = "after ReadAfter"
	afterOpening   moment = "after ReadBefore"
	beforeRestore  moment = "before Restore"
	afterAppending moment = "after Append"
)

// errFault is what a broken call answers.
var errFault = fmt.Errorf("%w: a test broke it", chat.ErrUnavailable)

// A brittle broker lets a test strike at an exact moment, and lends its sink.
type brittle struct {
	*membroker.Broker
	sink chat.Sink

	mu      sync.Mutex
	strikes map[moment]func() error
}

func newBrittle(cluster *membroker.Cluster) *brittle {
	return &brittle{Broker: cluster.Node("1111"), strikes: make(map[moment]func() error)}
}

// at sets what happens at a moment from now on. An error is what the call
// answers; nil lets it go on.
func (b *brittle) at(m moment, strike func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strikes[m] = strike
}

// once sets what happens when the moment comes next.
func (b *brittle) once(m moment, strike func() error) {
	b.at(m, func() error {
		b.at(m, nil)
		return strike()
	})
}

func (b *brittle) strike(m moment) error {
	b.mu.Lock()
	strike := b.strikes[m]
	b.mu.Unlock()
	if strike == nil {
		return nil
	}
	return strike()
}

func (b *brittle) Run(ctx context.Context, s chat.Sink) error {
	b.sink = s
	return b.Broker.Run(ctx, s)
}

func (b *brittle) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	p, err := b.Broker.Append(ctx, d, seen)
	return p, errors.Join(err, b.strike(afterAppending))
}

func (b *brittle) Restore(ctx context.Context, p chat.Publication, seen chat.Position) (chat.Publication, error) {
	if err := b.strike(beforeRestore); err != nil {
		return chat.Publication{}, err
	}
	return b.Broker.Restore(ctx, p, seen)
}

func (b *brittle) ReadAfter(ctx context.Context, room chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	if err := b.strike(beforeRead); err != nil {
		return nil, err
	}
	found, err := b.Broker.ReadAfter(ctx, room, after, limit)
	return found, errors.Join(err, b.strike(afterRead))
}

func (b *brittle) ReadBefore(ctx context.Context, room chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	found, err := b.Broker.ReadBefore(ctx, room, before, limit)
	return found, errors.Join(err, b.strike(afterOpening))
}

// A scene is alice in the lobby of a brittle node, and what tests say of it.
type scene struct {
	*testing.T
	cluster *membroker.Cluster
	broker  *brittle
	hub     *hub.Hub
	count   *metrics.Hub
	alice   *hub.Member
	heard   *listener
}

// inLobby plays a story, and goes on until the node has nothing to do any more.
func inLobby(t *testing.T, o hub.Options, story func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, cluster: membroker.New(), heard: &listener{}}
		s.broker = newBrittle(s.cluster)
		s.hub, s.count = startOn(t, s.broker, o)
		s.alice = join(t, s.hub, "lobby", "alice", s.heard, nil)
		story(s)
		s.alice.Leave()
		time.Sleep(time.Minute)
	})
}

// say makes alice say something, a millisecond later.
func (s *scene) say(keys ...string) (last chat.Position) {
	s.Helper()
	for _, key := range keys {
		time.Sleep(time.Millisecond)
		last = say(s.T, s.alice, key)
	}
	return last
}

// elsewhere makes bob say something on another node, which holds no room.
func (s *scene) elsewhere(keys ...string) {
	s.Helper()
	for _, key := range keys {
		time.Sleep(time.Millisecond)
		s.append("bob", key, `"`+key+`"`)
	}
}

func (s *scene) append(from chat.UserID, key, body string) {
	s.Helper()
	d := chat.Draft{Room: "lobby", From: from, Key: key, Body: []byte(body)}
	if _, err := s.cluster.Node("2222").Append(s.Context(), d, chat.Position{}); err != nil {
		s.Fatal(err)
	}
}

// end is the log's last position.
func (s *scene) end() chat.Position {
	s.Helper()
	tails, err := s.cluster.Node("reader").Tails(s.Context(), []chat.RoomID{"lobby"})
	if err != nil {
		s.Fatal(err)
	}
	return tails[0].Position
}

// rewind loses the last n publications.
func (s *scene) rewind(n int) { s.cluster.Rewind("lobby", n) }

// look makes the node compare its rooms with their logs.
func (s *scene) look() { s.broker.sink.Resumed() }

// settle waits until what is under way is done, however slowly.
func (s *scene) settle() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

// wantLog says in which way the log, by its keys, is not want.
func (s *scene) wantLog(want ...string) {
	s.Helper()
	if got := logKeys(s.T, s.cluster); !slices.Equal(got, want) {
		s.Errorf("the log has %q, want %q", got, want)
	}
}

// wantHeard says in which way what alice heard from n on is not want.
func (s *scene) wantHeard(n int, want ...string) {
	s.Helper()
	if got := s.heard.pushes(n); !slices.Equal(got, want) {
		s.Errorf("alice heard %q, want %q", got, want)
	}
}

func (s *scene) wantRestored(want float64) {
	s.Helper()
	if got := value(s.T, s.count.Restored); got != want {
		s.Errorf("%v publications restored, want %v", got, want)
	}
}

// logKeys are the keys of what the lobby's log has.
func logKeys(t *testing.T, cluster *membroker.Cluster) (keys []string) {
	t.Helper()
	log, err := cluster.Node("reader").ReadAfter(t.Context(), "lobby", chat.Position{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range log {
		keys = append(keys, p.Key)
	}
	return keys
}
