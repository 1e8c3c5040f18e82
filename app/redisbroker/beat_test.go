package redisbroker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chattest"
	"github.com/chatring/chatring/app/redisbroker"
)

const beatKey = "chatring:beat"

// Redis loses data and breaks no connection: every node's sink is told to look
// at its rooms again, once, whether all is gone or an older state is back.
func TestLossWithoutInterruption(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, c *redis.Client, older string){
		"all is gone": func(t *testing.T, c *redis.Client, _ string) { do(t, c, "FLUSHALL") },
		"an older state is back": func(t *testing.T, c *redis.Client, older string) {
			if err := c.RestoreReplace(t.Context(), beatKey, 0, older).Err(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := chattest.StartRedis(t)
			o := redisbroker.Options{URL: r.URL(), AppID: "1111", ProbeEvery: 20 * time.Millisecond, ProbeTimeout: 10 * time.Second}
			losses := make(chan error, 10)
			tells := o
			tells.Bridged = func(broken error) {
				if broken != nil {
					losses <- broken
				}
			}
			one, heardOne := start(t, tells)
			two, heardTwo := start(t, o)
			c := operator(t, r)
			beats := func(n uint64) {
				t.Helper()
				for _, b := range []*redisbroker.Broker{one, two} {
					from := b.Stats().Probes
					eventually(t, "a node goes on probing", func() bool { return b.Stats().Probes > from+n })
				}
			}
			beats(2)
			older := c.Dump(t.Context(), beatKey).Val()
			beats(10)
			lose(t, c, older)
			for _, heard := range []*chattest.Recorder{heardOne, heardTwo} {
				heard.Wait(t, "to be told to look again", func() bool { return heard.Resumptions() == 1 })
			}
			beats(5)
			for _, heard := range []*chattest.Recorder{heardOne, heardTwo} {
				if n := heard.Resumptions(); n != 1 {
					t.Errorf("told to look again %d times, want once", n)
				}
			}
			if err := <-losses; !errors.Is(err, redisbroker.ErrLoss) || len(losses) > 0 {
				t.Errorf("told %v and %d times more, want the loss", err, len(losses))
			}
		})
	}
}

// A Redis that refuses to be written to has lost nothing.
func TestRefusedBeatIsNoLoss(t *testing.T) {
	t.Parallel()
	r := chattest.StartRedis(t)
	b, heard := start(t, redisbroker.Options{URL: r.URL(), AppID: "1111", ProbeEvery: 20 * time.Millisecond, ProbeTimeout: 10 * time.Second})
	c := operator(t, r)
	for _, replicas := range []string{"0", "1", "0"} {
		do(t, c, "CONFIG SET min-replicas-to-write "+replicas)
		from := b.Stats().Probes
		eventually(t, "the node goes on probing", func() bool { return b.Stats().Probes > from+5 })
	}
	if n := heard.Resumptions(); n != 0 {
		t.Errorf("told to look again %d times, want never", n)
	}
}

// eventually waits until a real Redis has made something true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
