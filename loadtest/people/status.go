package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// statusFigures is what status found.
type statusFigures struct {
	At      time.Time `json:"at"`
	Pairs   int       `json:"pairs"`
	Rounds  int       `json:"rounds"`
	Changes int       `json:"changes"`
	Missing int       `json:"missing"`
	Said    latency   `json:"said_to_seen_ms"` // by a command, away and online
	Gone    latency   `json:"gone_to_seen_ms"` // the socket is closed
	Back    latency   `json:"back_to_seen_ms"` // it is opened
	cost
}

// A pair is two friends: one changes, the other one watches.
type pair struct {
	watcher, changer *person
	seen             chan string // statuses, as they come
}

// status measures how soon friends see each other's changes.
func status(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("status", out)
	pairs := f.Int("pairs", 100, "pairs of friends")
	rounds := f.Int("rounds", 5, "how often each one goes away and comes back, both by a command and by its socket")
	pause := f.Duration("pause", time.Second, "time between two changes of one")
	if err := t.parse(f, args, pairs, rounds); err != nil {
		return err
	}
	r := &statusFigures{At: time.Now(), Pairs: *pairs, Rounds: *rounds}
	all := make([]*pair, *pairs)
	defer func() {
		for _, p := range all {
			if p != nil {
				_ = p.watcher.socket.CloseNow()
				_ = p.changer.socket.CloseNow()
			}
		}
	}()
	run := fmt.Sprintf("%x", time.Now().UnixNano())
	err := each(ctx, *pairs, func(ctx context.Context, i int) (err error) {
		all[i], err = t.befriend(ctx, fmt.Sprintf("watcher-%s-%d", run, i), fmt.Sprintf("changer-%s-%d", run, i))
		return err
	})
	if err != nil {
		return err
	}
	if err := r.measure(ctx, t, all, *pause); err != nil {
		return err
	}
	r.print(out)
	if err := write(t.file, r); err != nil {
		return err
	}
	if r.Missing > 0 {
		return fmt.Errorf("%d changes were not seen within %v", r.Missing, patience)
	}
	return nil
}

// befriend makes two users friends who know that both are there.
func (t *target) befriend(ctx context.Context, watcher, changer string) (*pair, error) {
	p := &pair{seen: make(chan string, 64)}
	var err error
	if p.watcher, err = t.enter(ctx, "/ws/friends", watcher, p.hear(changer)); err != nil {
		return nil, err
	}
	if p.changer, err = t.enter(ctx, "/ws/friends", changer, nil); err != nil {
		return nil, err
	}
	if _, err = p.watcher.ask(ctx, "friends.request", fmt.Sprintf(`"user":%q`, changer)); err != nil {
		return nil, err
	}
	if _, err = p.changer.ask(ctx, "friends.accept", fmt.Sprintf(`"user":%q`, watcher)); err != nil {
		return nil, err
	}
	return p, nil
}

// hear keeps what the watcher is told of the changer.
func (p *pair) hear(changer string) func(said) {
	return func(s said) {
		if s.Push == "friend" && s.User == changer && s.Status != "" {
			select {
			case p.seen <- s.Status:
			default: // nobody looks any more
			}
		}
	}
}

// await returns how long it took until a status was seen.
func (p *pair) await(ctx context.Context, status string, since time.Time) (time.Duration, bool) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case seen := <-p.seen:
			if seen == status {
				return time.Since(since), true
			}
		case <-late.C:
			return 0, false
		case <-ctx.Done():
			return 0, false
		}
	}
}

func (r *statusFigures) measure(ctx context.Context, t *target, all []*pair, pause time.Duration) (err error) {
	var mu sync.Mutex
	times := map[string][]time.Duration{}
	saw := func(what string, took time.Duration, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		r.Changes++
		if !ok {
			r.Missing++
			return
		}
		times[what] = append(times[what], took)
	}
	r.cost, err = t.measure(func() error {
		var failed error
		var working sync.WaitGroup
		for i, p := range all {
			working.Go(func() {
				if sleep(ctx, pause*time.Duration(i)/time.Duration(len(all))) != nil { // spread over the pause
					return
				}
				for range r.Rounds {
					if err := p.round(ctx, t, pause, saw); err != nil {
						mu.Lock()
						failed = err
						mu.Unlock()
						return
					}
				}
			})
		}
		working.Wait()
		if failed == nil {
			failed = ctx.Err()
		}
		return failed
	})
	r.Said, r.Gone, r.Back = latencyOf(times["said"]), latencyOf(times["gone"]), latencyOf(times["back"])
	return err
}

// round is away, online, gone, back.
func (p *pair) round(ctx context.Context, t *target, pause time.Duration, saw func(string, time.Duration, bool)) error {
	for _, status := range []string{"away", "online"} {
		begun := time.Now()
		if _, err := p.changer.ask(ctx, "friends.status", fmt.Sprintf(`"status":%q`, status)); err != nil {
			return err
		}
		took, ok := p.await(ctx, status, begun)
		saw("said", took, ok)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	begun := time.Now()
	p.changer.leave()
	took, ok := p.await(ctx, "offline", begun)
	saw("gone", took, ok)
	if err := sleep(ctx, pause); err != nil {
		return err
	}
	begun = time.Now()
	back, err := t.enter(ctx, "/ws/friends", p.changer.name, nil)
	if err != nil {
		return err
	}
	p.changer = back
	took, ok = p.await(ctx, "online", begun)
	saw("back", took, ok)
	return sleep(ctx, pause)
}

func (r *statusFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d pairs of friends, %d rounds, %d changes in %.1f s\n", r.Pairs, r.Rounds, r.Changes, r.Seconds)
	fmt.Fprintf(out, "said → seen            %v\n", r.Said)
	fmt.Fprintf(out, "socket closed → seen   %v\n", r.Gone)
	fmt.Fprintf(out, "socket opened → seen   %v\n", r.Back)
	r.cost.print(out, r.Changes, "change")
	fmt.Fprintf(out, "missing                %d\n", r.Missing)
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
