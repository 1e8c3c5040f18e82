package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/cluster"
	"github.com/chatring/chatring/app/hub"
	"github.com/chatring/chatring/app/membroker"
	"github.com/chatring/chatring/app/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node is one place in the cluster, and what it has heard.
type node struct {
	*cluster.Cluster
	hold chan struct{} // while it has a token, nothing is heard

	mu        sync.Mutex
	heard     []int
	forgotten []time.Time
}

// start runs a node of the brokers' cluster until the test ends.
func start(t *testing.T, brokers *membroker.Cluster, appid string) *node {
	t.Helper()
	h := hub.New(brokers.Node(appid), hub.Options{
		Window: 16, WindowBudget: 1 << 20, Linger: time.Minute, RetentionAge: time.Hour,
		OpenTimeout: time.Second, FillGrace: 10 * time.Millisecond,
	}, &metrics.New(appid, "test").Hub)
	n := &node{Cluster: cluster.New(h, appid), hold: make(chan struct{}, 1)}
	n.On("number", func(body json.RawMessage) {
		n.hold <- struct{}{}
		defer func() { <-n.hold }()
		var i int
		if err := json.Unmarshal(body, &i); err != nil {
			t.Errorf("heard %s: %v", body, err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.heard = append(n.heard, i)
	})
	n.OnForgotten(func(before time.Time) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.forgotten = append(n.forgotten, before)
	})
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{h.Run, n.Run} {
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
	return n
}

func (n *node) numbers() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.heard)
}

// tell says the numbers from first to last.
func (n *node) tell(t *testing.T, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		if err := n.Tell(t.Context(), "number", i); err != nil {
			t.Fatal(err)
		}
	}
}

func count(first, last int) (numbers []int) {
	for i := first; i <= last; i++ {
		numbers = append(numbers, i)
	}
	return numbers
}

// What one node tells, all hear in one order: the one who told it, the others,
// and those that start when the log is far longer than a window and a page.
func TestAllHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := start(t, brokers, "1111"), start(t, brokers, "2222")
		<-one.Ready()
		<-two.Ready()
		one.tell(t, 1, 600)
		late := start(t, brokers, "3333")
		<-late.Ready()
		synctest.Wait()
		for name, n := range map[string]*node{"the teller": one, "another": two, "a late one": late} {
			if got, want := n.numbers(), count(1, 600); !slices.Equal(got, want) {
				t.Errorf("%s heard %d numbers, want 1 to 600 in order", name, len(got))
			}
		}
	})
}

// A node that comes when the log has let go of its beginning is told how much of
// the past it cannot hear. Nobody else is, nor is one that comes in time.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New(membroker.Retention(100))
		one := start(t, brokers, "1111")
		<-one.Ready()
		one.tell(t, 0, 0)
		inTime := start(t, brokers, "2222")
		<-inTime.Ready()
		began := time.Now()
		for i := 1; i < 500; i++ { // one a second
			time.Sleep(time.Second)
			one.tell(t, i, i)
		}
		late := start(t, brokers, "3333")
		<-late.Ready()
		synctest.Wait()
		if len(one.forgotten)+len(inTime.forgotten) > 0 {
			t.Errorf("forgotten before %v and %v, want nothing", one.forgotten, inTime.forgotten)
		}
		first := began.Add(time.Duration(late.numbers()[0]) * time.Second)
		if len(late.forgotten) != 1 || !late.forgotten[0].Equal(first) || first.Equal(began) {
			t.Errorf("forgotten before %v, want %v", late.forgotten, first)
		}
	})
}

// A call is heard by those who are there, and by them alone.
func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := start(t, brokers, "1111"), start(t, brokers, "2222")
		<-one.Ready()
		<-two.Ready()
		if err := one.Call("number", 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		late := start(t, brokers, "3333")
		<-late.Ready()
		synctest.Wait()
		if got := [][]int{one.numbers(), two.numbers(), late.numbers()}; len(got[0]) != 0 || !slices.Equal(got[1], []int{7}) || len(got[2]) != 0 {
			t.Errorf("heard %v, want it at the second alone", got)
		}
	})
}

// A node that is deaf for a while hears what it has missed.
func TestDeafForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := start(t, brokers, "1111"), start(t, brokers, "2222")
		<-one.Ready()
		<-two.Ready()
		brokers.Interrupt("2222")
		one.tell(t, 1, 100)
		brokers.Restore("2222")
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := two.numbers(), count(1, 100); !slices.Equal(got, want) {
			t.Errorf("heard %v, want 1 to 100", got)
		}
	})
}

// A node that cannot keep up drops what waits, and reads it from the log.
func TestSlowToHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one, two := start(t, brokers, "1111"), start(t, brokers, "2222")
		<-one.Ready()
		<-two.Ready()
		two.hold <- struct{}{}
		one.tell(t, 1, 9000)
		<-two.hold
		synctest.Wait()
		got := two.numbers()
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, count(1, 9000)) {
			t.Errorf("heard %d different numbers, want 9000", len(got))
		}
		before := len(two.numbers())
		one.tell(t, 9001, 9001)
		synctest.Wait()
		if got := two.numbers()[before:]; !slices.Equal(got, []int{9001}) {
			t.Errorf("heard %d numbers then, want what was told and nothing again", len(got))
		}
	})
}

// Without the log a node is not ready and cannot speak; it is ready, and has
// heard everything, once the log is back.
func TestLogIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one := start(t, brokers, "1111")
		<-one.Ready()
		one.tell(t, 1, 3)
		brokers.SetDown(true)
		two := start(t, brokers, "2222")
		time.Sleep(time.Minute)
		select {
		case <-two.Ready():
			t.Error("ready without the log")
		default:
		}
		if err := two.Tell(t.Context(), "number", 4); !errors.Is(err, chat.ErrUnavailable) {
			t.Errorf("Tell = %v, want ErrUnavailable", err)
		}
		brokers.SetDown(false)
		<-two.Ready()
		synctest.Wait()
		if got, want := two.numbers(), count(1, 3); !slices.Equal(got, want) {
			t.Errorf("heard %v, want %v", got, want)
		}
	})
}

// Words of a kind that nobody hears here, from a newer version, do no harm.
func TestUnknownKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		brokers := membroker.New()
		one := start(t, brokers, "1111")
		<-one.Ready()
		if err := one.Tell(t.Context(), "colour", "red"); err != nil {
			t.Fatal(err)
		}
		one.tell(t, 1, 1)
		synctest.Wait()
		if got := one.numbers(); !slices.Equal(got, []int{1}) {
			t.Errorf("heard %v, want 1", got)
		}
	})
}
