package hub_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/protocol"
)

// A restored tail stands in a new epoch, so that no node takes a position of
// the lost one for one of the log that took its place.
func TestHealedLogBeginsAnEpoch(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0")
		lost := s.say("lost")
		s.cluster.Interrupt("1111")
		s.rewind(1)
		s.elsewhere("b")
		s.cluster.Restore("1111")
		s.settle()
		s.wantLog("k0", "b", "lost")
		two, _ := start(s.T, s.cluster, "3333", options)
		l := &listener{}
		carol := join(s.T, two, "lobby", "carol", l, &lost) // has not seen b
		if l.heard[0].Recovered {
			s.Errorf("recovered from %s, which the log has given to b", lost)
		}
		carol.Leave()
	})
}

// A sender who has used a lost key for something else meanwhile has said what
// counts; the rest of the tail is restored all the same.
func TestUsedKeyDoesNotStopTheHeal(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "again", "k2")
		s.cluster.Interrupt("1111")
		s.rewind(2)
		time.Sleep(time.Millisecond)
		s.append("alice", "again", `"something else"`)
		s.cluster.Restore("1111")
		s.settle()
		s.say("k3")
		s.wantLog("k0", "again", "k2", "k3")
		s.wantRestored(1)
	})
}

// A log that cannot be appended to is healed later.
func TestHealTriesAgain(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "k1", "k2")
		s.rewind(2)
		s.broker.once(beforeRestore, func() error { return errFault })
		s.look()
		s.settle()
		s.wantLog("k0", "k1", "k2")
	})
}

// An append whose answer comes after the log has lost what it tells of is
// acknowledged at the position that it has in the end.
func TestAppendDuringAHealIsDoneAgain(t *testing.T) {
	for name, slow := range map[string]bool{"healed": false, "being healed": true} {
		t.Run(name, func(t *testing.T) {
			inLobby(t, options, func(s *scene) {
				s.say("k0", "k1")
				s.broker.once(afterAppending, func() error {
					s.rewind(2) // k1 too, so that it is noticed
					if slow {
						s.broker.once(beforeRead, func() error { return errFault })
					}
					s.look()
					time.Sleep(time.Millisecond)
					return nil
				})
				got := s.say("k2")
				s.settle()
				log, err := s.broker.ReadBefore(s.Context(), "lobby", chat.Position{}, 10)
				if err != nil {
					s.Fatal(err)
				}
				if want := log[len(log)-1]; want.Key != "k2" || got != want.Position {
					s.Errorf("acknowledged at %s, the log ends with %s at %s", got, want.Key, want.Position)
				}
				s.wantLog("k0", "k1", "k2")
			})
		})
	}
}

// A log that goes back between the read that opens a room and its opening is
// looked at again once the room is open.
func TestLossWhileARoomOpens(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		draft := chat.Draft{Room: "den", From: "bob", Key: "k", Body: []byte("1")}
		if _, err := s.cluster.Node("2222").Append(s.Context(), draft, chat.Position{}); err != nil {
			s.Fatal(err)
		}
		s.broker.once(afterOpening, func() error {
			s.cluster.Rewind("den", 1)
			s.look()
			time.Sleep(time.Millisecond)
			return nil
		})
		m := join(s.T, s.hub, "den", "alice", &listener{}, nil)
		s.settle()
		log, err := s.broker.ReadAfter(s.Context(), "den", chat.Position{}, 10)
		if err != nil || len(log) != 1 || log[0].Key != "k" {
			s.Errorf("the log has %v, %v, want k", log, err)
		}
		m.Leave()
	})
}

// patient is a hub that does not read the log for a hole within any test.
func patient() hub.Options {
	o := options
	o.FillGrace = 24 * time.Hour
	return o
}

// A position heard of again, with something else, shows the loss.
func TestPositionHeardTwiceShowsTheLoss(t *testing.T) {
	inLobby(t, patient(), func(s *scene) {
		s.say("k0", "lost")
		n := s.heard.len()
		s.rewind(1)
		s.elsewhere("b")
		s.settle()
		s.wantLog("k0", "b", "lost")
		s.wantHeard(n, "reset ", "message b", "reset ", "message lost")
	})
}

// What is heard of only after the log was read for a hole is not lost because
// the read has not brought it.
func TestHeardDuringAReadIsNoLoss(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0")
		n := s.heard.len()
		s.cluster.Drop("1111", 1)
		s.broker.once(afterRead, func() error {
			s.cluster.Drop("1111", 1)
			s.elsewhere("b3", "b4")
			synctest.Wait() // b4 is held
			return nil
		})
		s.elsewhere("b1", "b2")
		s.settle()
		s.wantHeard(n, "message b1", "message b2", "message b3", "message b4")
	})
}

// What the next publication names as the one before it shows the loss at once.
func TestNextMessageShowsTheLoss(t *testing.T) {
	inLobby(t, patient(), func(s *scene) {
		s.say("k0", "lost")
		n := s.heard.len()
		s.rewind(1)
		s.cluster.Drop("1111", 1)
		s.elsewhere("b1", "b2") // b1 is told to nobody
		s.settle()
		s.wantLog("k0", "b1", "b2", "lost")
		s.wantHeard(n, "reset ", "message b1", "message b2", "reset ", "message lost")
	})
}

// So does what was held behind a hole, when the lost publication has closed it.
func TestHeldMessageShowsTheLoss(t *testing.T) {
	inLobby(t, patient(), func(s *scene) {
		s.say("k0")
		n := s.heard.len()
		s.broker.once(afterAppending, func() error {
			s.rewind(1)
			s.cluster.Drop("1111", 1)
			s.elsewhere("b1", "b2")
			synctest.Wait() // b2 is held
			return nil
		})
		s.say("lost")
		s.settle()
		s.wantLog("k0", "b1", "b2", "lost")
		s.wantHeard(n, "message lost", "reset ", "message b1", "message b2", "reset ", "message lost")
	})
}

// A read for a hole begins with what was let through last, and shows that
// something else stands there.
func TestReadForAHoleShowsTheLoss(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "lost")
		n := s.heard.len()
		s.rewind(1)
		s.cluster.Drop("1111", 2)
		s.elsewhere("b1", "b2", "b3") // b3 is heard behind a hole
		s.settle()
		s.wantLog("k0", "b1", "b2", "b3", "lost")
		s.wantHeard(n, "reset ", "message b1", "message b2", "message b3", "reset ", "message lost")
	})
}

// Who comes back from further ahead shows that the log has nothing any more
// where this node has been.
func TestReadThatFindsNothingShowsTheLoss(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		ahead := s.say("k0", "k1")
		ahead.Offset++
		s.rewind(1)
		carol := join(s.T, s.hub, "lobby", "carol", &listener{}, &ahead)
		s.settle()
		s.wantLog("k0", "k1")
		carol.Leave()
	})
}

// A bridge that comes back into silence finds a tail at the same position that
// is another publication.
func TestTailShowsTheLoss(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "lost")
		n := s.heard.len()
		s.cluster.Interrupt("1111")
		s.rewind(1)
		s.elsewhere("b")
		s.cluster.Restore("1111")
		s.settle()
		s.wantLog("k0", "b", "lost")
		s.wantHeard(n, "reset ", "message b", "reset ", "message lost")
	})
}

// A window that is longer than one read of the log is compared as a whole.
func TestLongWindowIsHealed(t *testing.T) {
	o := options
	o.Window = 600
	inLobby(t, o, func(s *scene) {
		var want []string
		for k := range 400 {
			want = append(want, fmt.Sprint("k", k))
		}
		s.say(want...)
		time.Sleep(time.Hour) // keys are forgotten: what is restored twice is there twice
		s.rewind(1)
		s.say("new")
		s.settle()
		s.wantLog(append(want, "new")...)
		s.wantRestored(1)
	})
}

// A heal leaves as many bytes in the windows as there were, and none when the
// room is gone.
func TestHealKeepsTheBudget(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "k1")
		before := value(s.T, s.count.WindowBytes)
		s.rewind(1)
		s.look()
		s.settle()
		s.wantRestored(1)
		if got := value(s.T, s.count.WindowBytes); got != before {
			s.Errorf("the window takes %v bytes, want %v", got, before)
		}
		s.alice.Leave()
		s.settle()
		if got := value(s.T, s.count.WindowBytes); got != 0 {
			s.Errorf("no windows take %v bytes", got)
		}
	})
}

// A room that everybody has left stays until its log has what only its window
// has, and no longer.
func TestRoomStaysUntilItIsHealed(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "k1")
		s.rewind(1)
		s.broker.at(beforeRead, func() error { return errFault })
		s.look()
		synctest.Wait()
		s.alice.Leave()
		time.Sleep(10 * options.Linger)
		s.broker.at(beforeRead, nil)
		s.settle()
		s.wantLog("k0", "k1")
		if got := value(s.T, s.count.Rooms); got != 0 {
			s.Errorf("%v rooms are served, want none", got)
		}
	})
}

// What waits behind a hole is bounded: of a log that lost it all, no more than
// that comes back.
func TestWhatIsHeldIsBounded(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0")
		s.broker.at(beforeRead, func() error { return errFault })
		s.cluster.Drop("1111", 1)
		for k := range 400 {
			s.elsewhere(fmt.Sprint("b", k))
		}
		synctest.Wait()
		s.rewind(400)
		s.broker.at(beforeRead, nil)
		s.settle()
		s.wantRestored(256)
	})
}

// A retry of something old, heard while the log is being healed, is no loss.
func TestRetryHeardDuringAHeal(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		var want []string
		for k := range 40 { // the window has the last 16
			want = append(want, fmt.Sprint("k", k))
		}
		s.say(want...)
		old, err := s.broker.ReadAfter(s.Context(), "lobby", chat.Position{}, 1)
		if err != nil {
			s.Fatal(err)
		}
		s.rewind(1)
		s.broker.once(beforeRead, func() error { return errFault })
		s.look()
		synctest.Wait() // the heal pauses
		s.broker.sink.Publication(old[0])
		s.settle()
		s.wantLog(want...)
		s.say("new")
		if got := value(s.T, s.count.Restored); got > 2 {
			s.Errorf("%v restored, want k39, and at most one try of k0", got)
		}
	})
}

// A page of history that is asked for during a heal comes from the log, not
// from the window that nobody vouches for.
func TestHistoryDuringAHealComesFromTheLog(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		s.say("k0", "lost")
		s.cluster.Interrupt("1111")
		s.rewind(1)
		s.elsewhere("b")
		s.broker.at(beforeRead, func() error { return errFault })
		s.cluster.Restore("1111")
		synctest.Wait()
		page, _, err := s.hub.History(s.Context(), "lobby", hub.Range{Limit: 10})
		if err != nil {
			s.Fatal(err)
		}
		l := &listener{}
		l.Send(protocol.Concat(page))
		if got, want := l.pushes(0), []string{"message k0", "message b"}; !slices.Equal(got, want) {
			s.Errorf("the page has %q, want %q", got, want)
		}
		s.broker.at(beforeRead, nil)
		s.settle()
	})
}

// A log that goes back twice before anything follows has lost what members saw
// before the first time.
func TestResetNamesAllThatWasLost(t *testing.T) {
	inLobby(t, options, func(s *scene) {
		lost := s.say("k0", "k1", "k2", "k3")
		time.Sleep(options.RetentionAge + time.Second) // too old to be restored
		for range 2 {
			s.rewind(1)
			s.look()
			time.Sleep(time.Second)
		}
		n := s.heard.len()
		s.elsewhere("b")
		s.settle()
		s.wantHeard(n, "reset ", "message b")
		if got, want := s.heard.heard[n].Lost, lost.String(); got != want {
			s.Errorf("lost up to %s, want %s", got, want)
		}
	})
}

// A body that nobody can read, written into the log by hand, is not restored,
// and does not stop the heal.
func TestUnreadableMessageDoesNotStopTheHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, cluster: membroker.New()}
		h, _ := start(t, s.cluster, "1111", options)
		m, err := h.Join(t.Context(), "lobby", hub.Join{User: "alice", Receiver: deaf{}})
		if err != nil {
			t.Fatal(err)
		}
		say(t, m, "k0")
		s.append("bob", "b", "hello")
		time.Sleep(time.Second)
		say(t, m, "k1")
		s.rewind(2)
		say(t, m, "k2")
		s.wantLog("k0", "k1", "k2")
		m.Leave()
		time.Sleep(time.Minute)
	})
}

// deaf is a hub.Receiver that reads nothing.
type deaf struct{}

func (deaf) Send(protocol.Batch)      {}
func (deaf) Recover([]protocol.Batch) {}
