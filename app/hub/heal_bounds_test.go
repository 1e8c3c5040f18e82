package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
)

// A log that has lost its tail, and that others go on with for long, unheard,
// is healed in several reads, each with a time of its own, and is not all in
// memory at once.
func TestLongLogIsHealed(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		const others = 1500
		s.say("k0", "lost")
		s.cluster.Interrupt("1111")
		s.rewind(1)
		s.elsewhere("b")
		want := []string{"k0", "b"}
		s.broker.at(beforeRead, func() error {
			time.Sleep(time.Second)
			if len(want) > 2 || value(s.T, s.count.Healing) == 0 {
				return nil
			}
			s.cluster.Drop("1111", others)
			for i := range others {
				want = append(want, fmt.Sprint("b", i))
			}
			s.elsewhere(want[2:]...)
			return nil
		})
		s.cluster.Restore("1111")
		s.settle()
		s.wantLog(append(want, "lost")...)
		if got := len(s.heard.messages()); got != 2+others+2 {
			s.Errorf("alice heard %d messages, want k0, lost, b, the others' %d, and lost again", got, others)
		}
		if got := value(s.T, s.count.Fills); got < others/256 {
			s.Errorf("%v fills: the heal had the whole log in memory", got)
		}
		s.broker.at(beforeRead, nil)
	})
}

// A spoilt broker cannot read the logs of rooms that begin with "spoilt".
type spoilt struct{ *membroker.Broker }

func (b spoilt) ReadAfter(ctx context.Context, room chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	if strings.HasPrefix(string(room), "spoilt") {
		return nil, errFault
	}
	return b.Broker.ReadAfter(ctx, room, after, limit)
}

// Logs that cannot be healed, however many, do not keep others from it.
func TestHealsDoNotWaitForSpoiltLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		h, count := startOn(t, spoilt{cluster.Node("1111")}, options)
		last := func(id chat.RoomID) (chat.Publication, error) {
			m := join(t, h, id, "alice", &listener{}, nil)
			say(t, m, "k0")
			cluster.Rewind(id, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return m.Publish(ctx, "k1", []byte("1"))
		}
		const many = 40
		for i := range many {
			if _, err := last(chat.RoomID(fmt.Sprint("spoilt", i))); !errors.Is(err, chat.ErrUnavailable) {
				t.Fatalf("publish: %v, want ErrUnavailable", err)
			}
		}
		if _, err := last("lobby"); err != nil {
			t.Errorf("publish: %v", err)
		}
		synctest.Wait()
		if got := value(t, count.Healing); got != many {
			t.Errorf("%v logs are being healed, want the %d that cannot be", got, many)
		}
	})
}

// A publish that waits for a heal is answered when the node stops.
func TestStopEndsTheWaitForAHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := membroker.New()
		broker := newBrittle(cluster)
		h := hub.New(broker, options, &metrics.New("1111", "test").Hub)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		alice := join(t, h, "lobby", "alice", &listener{}, nil)
		say(t, alice, "k0")
		cluster.Rewind("lobby", 1)
		broker.at(beforeRead, func() error { return errFault })
		answered := make(chan error, 1)
		go func() {
			_, err := alice.Publish(context.Background(), "k1", []byte("1"))
			answered <- err
		}()
		time.Sleep(time.Second)
		select {
		case err := <-answered:
			t.Errorf("answered before the heal: %v", err)
		default:
		}
		stop()
		synctest.Wait()
		select {
		case err := <-answered:
			if !errors.Is(err, chat.ErrUnavailable) {
				t.Errorf("publish: %v, want ErrUnavailable", err)
			}
		default:
			t.Fatal("the publish waits on")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
