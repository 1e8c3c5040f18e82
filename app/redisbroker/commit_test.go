package redisbroker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/chattest"
)

func newCall(ctx context.Context, key string) *call {
	c := appendCallOf(key)
	c.ctx, c.done = ctx, make(chan struct{})
	return c
}

func appendCallOf(key string) *call {
	b := &Broker{options: Options{Retention: 100, RetentionAge: time.Hour, KeyWindow: time.Minute}}
	return b.appendCall(chat.Publication{Draft: chat.Draft{Room: "lobby", From: "alice", Key: key, Body: []byte(`1`)}}, chat.Position{}, false)
}

func keyOf(c *call) string { return *c.args[1].(*string) }

// A draft that was given up is not appended, whatever the node took Redis' clock
// for before: a clock that is wrong is mended by what Redis answers, and drafts
// that are not given up are appended all the same.
func TestClockIsMended(t *testing.T) {
	t.Parallel()
	b, err := New(Options{URL: chattest.StartRedis(t).URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.commits.client.Close(), b.reads.Close() })
	ctx := t.Context()
	b.commits.load(ctx)
	live, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	over, cancel := context.WithDeadline(ctx, time.Now())
	defer cancel()

	// appended commits a call as often as a clock may have to be read.
	appended := func(c *call) bool {
		t.Helper()
		for range 2 {
			again, rest := b.commits.commit(ctx, []*call{c})
			if rest {
				t.Fatal("Redis needs a rest")
			}
			if len(again) == 0 {
				return c.err == nil
			}
		}
		return false
	}
	clocks := map[string]clock{
		"unread":       {},
		"an hour slow": {theirs: time.Now().Add(-time.Hour), ours: time.Now()},
		"an hour fast": {theirs: time.Now().Add(time.Hour), ours: time.Now()},
	}
	for name, wrong := range clocks {
		b.commits.clock = wrong
		if c := newCall(live, name); !appended(c) {
			t.Errorf("%s: a draft was refused: %v", name, c.err)
		}
		if appended(newCall(over, "late "+name)) {
			t.Errorf("%s: a draft that was given up was appended", name)
		}
		if c := newCall(over, name); !appended(c) {
			t.Errorf("%s: a key that is in the log was refused: %v", name, c.err)
		}
	}
	b.commits.clock = clock{theirs: time.Now().Add(time.Hour), ours: time.Now().Add(-2 * maxClockAge)}
	if appended(newCall(over, "stale")) {
		t.Error("a reading that is too old was believed")
	}
	b.commits.clock = clocks["an hour slow"]
	if c := newCall(ctx, "without end"); !appended(c) {
		t.Errorf("a draft without a deadline was refused: %v", c.err)
	}
	log, err := b.ReadAfter(ctx, "lobby", chat.Position{}, 100)
	if got, want := len(log), len(clocks)+1; got != want || err != nil {
		t.Errorf("the log has %d publications, %v, want %d", got, err, want)
	}
}

// A reading that is too old is not used, though Redis cannot be asked for
// another.
func TestOldReadingIsForgotten(t *testing.T) {
	b, err := New(Options{URL: "redis://127.0.0.1:1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.commits.client.Close(), b.reads.Close() })
	b.commits.clock = clock{theirs: time.Now(), ours: time.Now().Add(-2 * maxClockAge)}
	if again, rest := b.commits.commit(t.Context(), []*call{newCall(t.Context(), "k")}); len(again) != 1 || !rest {
		t.Errorf("%d calls come back, rest is %t, want one after a rest", len(again), rest)
	}
	if b.commits.clock != (clock{}) {
		t.Errorf("the clock is %v, want none", b.commits.clock)
	}
}

// Calls that come back go before those that came meanwhile, in their order: a
// sender's messages keep it over a batch that was lost.
func TestCallsKeepTheirOrder(t *testing.T) {
	c := newCommitter(nil, nil, new(counters), keep{}, Options{QueueBytes: 1 << 20})
	calls := make([]*call, 4)
	submit := func(n int) {
		t.Helper()
		calls[n] = appendCallOf(strconv.Itoa(n))
		if err := c.submit(t.Context(), calls[n]); err != nil {
			t.Fatal(err)
		}
	}
	submit(0)
	submit(1)
	lost := c.next()
	submit(2)
	submit(3)
	c.putBack(lost)
	bytes := c.bytes
	batch := c.next()
	if len(batch) != len(calls) {
		t.Fatalf("%d calls, want %d", len(batch), len(calls))
	}
	for i, want := range calls {
		if batch[i] != want {
			t.Errorf("call %d has key %s, want %s", i, keyOf(batch[i]), keyOf(want))
		}
		bytes -= want.cost()
	}
	if bytes != 0 {
		t.Errorf("the queue counted %d bytes too many", bytes)
	}
}

// A call whose caller is gone is not sent.
func TestGivenUpCallsAreNotSent(t *testing.T) {
	c := newCommitter(nil, nil, new(counters), keep{}, Options{QueueBytes: 1 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	gone := appendCallOf("gone")
	if err := c.submit(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if err := c.submit(t.Context(), appendCallOf("here")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if batch := c.next(); len(batch) != 1 || keyOf(batch[0]) != "here" {
		t.Fatalf("the batch has %d calls, want the one whose caller is here", len(batch))
	}
	if <-gone.done; !errors.Is(gone.err, chat.ErrUnavailable) {
		t.Errorf("the other was answered %v, want ErrUnavailable", gone.err)
	}
}

// The body may be used again by its owner while the call is on its way.
func TestCallKeepsItsBody(t *testing.T) {
	body := []byte(`"said"`)
	c := new(Broker).appendCall(chat.Publication{Draft: chat.Draft{Room: "lobby", From: "alice", Key: "k", Body: body}}, chat.Position{}, false)
	copy(body, `"oops"`)
	if got := *c.args[2].(*string); got != `"said"` {
		t.Errorf("the call says %s, want what was said", got)
	}
}

// Failures come in thousands; the log has one line a second.
func TestComplaintsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		c := newCommitter(nil, nil, new(counters), keep{}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 3 {
			for range 1000 {
				c.complain("no")
			}
			time.Sleep(time.Second)
		}
		if got := strings.Count(log.String(), "msg=no"); got != 3 {
			t.Errorf("%d lines in three seconds, want 3", got)
		}
	})
}

// A Redis that is too old is named in the log.
func TestOldRedisIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			socket, err := l.Accept()
			if err != nil {
				return
			}
			answerAsRedis6(socket)
		}
	}()
	var log strings.Builder
	b, err := New(Options{URL: "redis://" + l.Addr().String(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	b.commits.load(t.Context())
	_ = b.commits.client.Close()
	_ = l.Close()
	<-served
	if said := log.String(); !strings.Contains(said, "too old") || !strings.Contains(said, "version=6.2.14") {
		t.Errorf("the log says %q, want the version", said)
	}
}

// answerAsRedis6 says its version and knows nothing else, until its client goes.
func answerAsRedis6(socket net.Conn) {
	defer socket.Close()
	const info = "# Server\r\nredis_version:6.2.14\r\n"
	in := bufio.NewReader(socket)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		answer := "-ERR unknown command\r\n"
		if strings.EqualFold(command[0], "info") {
			answer = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
		}
		_, _ = io.WriteString(socket, answer)
	}
}

// readCommand reads an array of strings, as clients of Redis send them.
func readCommand(in *bufio.Reader) (words []string, err error) {
	var n, length int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	for range n {
		if _, err := fmt.Fscanf(in, "$%d\r\n", &length); err != nil {
			return nil, err
		}
		word := make([]byte, length+len("\r\n"))
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:length]))
	}
	return words, nil
}
