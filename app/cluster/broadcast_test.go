package cluster_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
)

// A listener is a node that hears broadcasts.
type listener struct {
	*cluster.Broadcast

	mu    sync.Mutex
	heard []string
}

// listen runs a node of the brokers' cluster until the test ends.
func listen(t *testing.T, brokers *membroker.Cluster, appid string) *listener {
	t.Helper()
	h := hub.New(brokers.Node(appid), hub.Options{
		Window: 16, WindowBudget: 1 << 20, Linger: time.Minute, RetentionAge: time.Hour,
		OpenTimeout: time.Second, FillGrace: 10 * time.Millisecond,
	}, &metrics.New(appid, "test").Hub)
	l := &listener{Broadcast: cluster.NewBroadcast(h, appid)}
	l.On("word", func(_ context.Context, w cluster.Word) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard = append(l.heard, string(w.From)+": "+string(w.Body))
	})
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{h.Run, l.Run} {
		parts.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		parts.Wait()
	})
	<-l.Ready()
	return l
}

func (l *listener) say(t *testing.T, key, body string) {
	t.Helper()
	if err := l.Tell(t.Context(), "service:billing", key, "word", body); err != nil {
		t.Fatal(err)
	}
}

func (l *listener) expect(t *testing.T, name string, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.heard, want) {
		t.Errorf("%s heard %q, want %q", name, l.heard, want)
	}
	l.heard = nil
}

// A broadcast is heard once by each node that runs, also after an interruption,
// and not by one that starts later.
func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := listen(t, brokers, "1111"), listen(t, brokers, "2222")
		one.say(t, "k1", "hello")
		brokers.Interrupt("2222")
		one.say(t, "k2", "again")
		brokers.Restore("2222")
		time.Sleep(time.Second)
		late := listen(t, brokers, "3333")
		synctest.Wait()
		for name, l := range map[string]*listener{"the teller": one, "another": two} {
			l.expect(t, name, `service:billing: "hello"`, `service:billing: "again"`)
		}
		late.expect(t, "a late one")
		two.say(t, "k3", "all")
		synctest.Wait()
		for name, l := range map[string]*listener{"the teller": one, "another": two, "a late one": late} {
			l.expect(t, name, `service:billing: "all"`)
		}
	})
}

// The same under the same key has no further effect, over whichever node; another
// word under it is a conflict.
func TestBroadcastAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := listen(t, brokers, "1111"), listen(t, brokers, "2222")
		one.say(t, "k1", "hello")
		two.say(t, "k1", "hello")
		if err := two.Tell(t.Context(), "service:billing", "k1", "word", "bye"); !errors.Is(err, chat.ErrConflict) {
			t.Errorf("Tell = %v, want ErrConflict", err)
		}
		brokers.SetDown(true)
		if err := two.Tell(t.Context(), "service:billing", "k2", "word", "hello"); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("Tell = %v, want ErrUnavailable", err)
		}
		brokers.SetDown(false)
		time.Sleep(time.Second)
		synctest.Wait()
		one.expect(t, "one", `service:billing: "hello"`)
		two.expect(t, "two", `service:billing: "hello"`)
	})
}

// What a log that has lost its tail gets again is not heard again, nor by a node
// that came after it was said.
func TestBroadcastOfALostTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one := listen(t, brokers, "1111")
		for _, word := range []string{"a", "b", "c"} {
			one.say(t, word, word)
			time.Sleep(time.Second)
		}
		late := listen(t, brokers, "2222")
		synctest.Wait()
		one.expect(t, "one", `service:billing: "a"`, `service:billing: "b"`, `service:billing: "c"`)
		brokers.Rewind("!everybody", 2)
		one.say(t, "d", "d") // after which the log has b and c again, in a new epoch
		time.Sleep(time.Second)
		synctest.Wait()
		one.expect(t, "one", `service:billing: "d"`)
		late.expect(t, "a late one", `service:billing: "d"`)
	})
}
