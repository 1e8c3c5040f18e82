package membroker_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/membroker"
)

// The cluster in memory does what every Broker must do, in a bubble.
func TestBroker(t *testing.T) {
	for _, s := range chattest.BrokerStories {
		t.Run(s.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := membroker.New()
				s.Tell(t, func(appid string) chat.Broker { return c.Node(appid) })
			})
		})
	}
}

func draft(key string) chat.Draft {
	return chat.Draft{Room: "lobby", From: "alice", Key: key, Body: []byte(`"` + key + `"`)}
}

func say(t *testing.T, b chat.Broker, keys ...string) []chat.Publication {
	t.Helper()
	var said []chat.Publication
	for _, key := range keys {
		p, err := b.Append(t.Context(), draft(key), chat.Position{})
		if err != nil {
			t.Fatalf("Append = %v", err)
		}
		said = append(said, p)
	}
	return said
}

// pair is a cluster of a node that speaks and a node that listens.
func pair(t *testing.T) (c *membroker.Cluster, speaker, listener *membroker.Broker, heard *chattest.Recorder) {
	t.Helper()
	c = membroker.New()
	speaker, listener, heard = c.Node("1111"), c.Node("2222"), chattest.NewRecorder()
	chattest.RunBroker(t, speaker, chattest.NewRecorder())
	chattest.RunBroker(t, listener, heard)
	if err := listener.Open(t.Context(), "lobby"); err != nil {
		t.Fatal(err)
	}
	return c, speaker, listener, heard
}

// What is said while a node's bridge is cut is lost to it, and it is told.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, speaker, _, heard := pair(t)
		c.Interrupt("2222")
		say(t, speaker, "lost")
		c.Restore("2222")
		said := say(t, speaker, "heard")
		synctest.Wait()
		got := heard.Publications("lobby")
		if len(got) != 1 || got[0].Position != said[0].Position || heard.Resumptions() != 1 {
			t.Errorf("heard %v and %d resumptions, want %v and 1", got, heard.Resumptions(), said)
		}
		if got, want := c.Bridged(), uint64(1); got != want {
			t.Errorf("Bridged = %d, want %d", got, want)
		}
	})
}

// Open waits for the bridge.
func TestOpenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, listener, _ := pair(t)
		c.Interrupt("2222")
		opened := make(chan error, 1)
		go func() { opened <- listener.Open(t.Context(), "team") }()
		synctest.Wait()
		if len(opened) != 0 {
			t.Errorf("Open = %v while the bridge is cut", <-opened)
		}
		c.Restore("2222")
		if err := <-opened; err != nil {
			t.Errorf("Open = %v", err)
		}
	})
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, speaker, _, heard := pair(t)
		c.Drop("2222", 2)
		said := say(t, speaker, "lost", "lost too", "heard")
		synctest.Wait()
		if got := heard.Publications("lobby"); len(got) != 1 || got[0].Position != said[2].Position {
			t.Errorf("heard %v, want the last of %v", got, said)
		}
	})
}

// A log that was rewound gives its positions again, unless somebody has seen
// them.
func TestRewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, speaker, _, _ := pair(t)
		said := say(t, speaker, "1", "2", "3")
		c.Rewind("lobby", 2)
		if tails, _ := speaker.Tails(t.Context(), []chat.RoomID{"lobby"}); tails[0].Position != said[0].Position {
			t.Errorf("tail = %s, want %s", tails[0].Position, said[0].Position)
		}
		p, err := speaker.Restore(t.Context(), chat.Publication{Draft: draft("3")}, said[2].Position)
		if err != nil || p.Epoch <= said[2].Epoch || p.Offset != 0 {
			t.Errorf("Restore = %s, %v, want a new epoch after %s", p.Position, err, said[2].Position)
		}
	})
}

func TestSetDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, speaker, listener, heard := pair(t)
		c.SetDown(true)
		if _, err := speaker.Append(t.Context(), draft("k"), chat.Position{}); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("Append = %v, want ErrUnavailable", err)
		}
		if err := listener.Check(t.Context()); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("Check = %v, want ErrUnavailable", err)
		}
		c.SetDown(false)
		say(t, speaker, "k")
		synctest.Wait()
		if heard.Resumptions() != 1 || len(heard.Publications("lobby")) != 1 {
			t.Errorf("heard %d resumptions and %v", heard.Resumptions(), heard.Publications("lobby"))
		}
	})
}

// Memory is bounded: old publications go, and so do old keys.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := membroker.New(membroker.Retention(10), membroker.KeyWindow(time.Minute)).Node("1111")
		for i := range 100 {
			say(t, b, strconv.Itoa(i))
		}
		kept, _ := b.ReadAfter(t.Context(), "lobby", chat.Position{}, 1000)
		if len(kept) < 10 || len(kept) > 13 || kept[len(kept)-1].Key != "99" {
			t.Errorf("%d publications are kept, want about 10", len(kept))
		}
		time.Sleep(59 * time.Second)
		if again := say(t, b, "0"); again[0].Offset != 0 {
			t.Errorf("within the window: %s, want offset 0", again[0].Position)
		}
		time.Sleep(2 * time.Second)
		if again := say(t, b, "0"); again[0].Offset != 100 {
			t.Errorf("after the window: %s, want offset 100", again[0].Position)
		}
	})
}

// A sink that stands still loses what its queue cannot hold, and is told.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, speaker, _, heard := pair(t)
		free := make(chan struct{})
		heard.OnQuestion(func(chat.RoomID, []byte) []byte { <-free; return nil })
		if _, complete, err := speaker.Ask(t.Context(), "lobby", nil); complete || err != nil {
			t.Errorf("Ask = %v, %v, want incomplete", complete, err)
		}
		for i := range 5000 {
			say(t, speaker, strconv.Itoa(i))
		}
		close(free)
		synctest.Wait()
		got := heard.Publications("lobby")
		if len(got) == 5000 || heard.Resumptions() != 1 || got[len(got)-1].Key != "4999" {
			t.Errorf("heard %d publications and %d resumptions", len(got), heard.Resumptions())
		}
	})
}
