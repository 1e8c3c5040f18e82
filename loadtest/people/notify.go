package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// notifyFigures is what notify found.
type notifyFigures struct {
	At       time.Time `json:"at"`
	Users    int       `json:"users"`
	Online   int       `json:"online"`
	Requests int       `json:"requests"`
	Sent     int       `json:"notifications"`
	Counted  int       `json:"sessions_counted"` // that heard, as the API says
	Heard    int       `json:"heard"`
	Missing  int       `json:"missing"`
	PerSec   float64   `json:"notifications_per_second"`
	PerCPU   float64   `json:"notifications_per_cpu_second,omitempty"`
	Answer   latency   `json:"request_to_answer_ms"`
	Deliver  latency   `json:"request_to_heard_ms"`
	cost
}

// notify measures what it costs to tell many users something.
func notify(ctx context.Context, args []string, out io.Writer) error {
	f, t := flags("notify", out)
	users := f.Int("users", 1000, "users that each request names, 1,000 at the most")
	online := f.Int("online", 200, "of these, those who are there")
	requests := f.Int("requests", 20, "requests")
	parallel := f.Int("parallel", 2, "requests at a time")
	if err := t.parse(f, args, users, requests, parallel); err != nil {
		return err
	}
	if *online < 0 || *online > *users || *users > 1000 {
		return fmt.Errorf("-users is 1 to 1000, -online at most as many %w", errMisuse)
	}
	r := &notifyFigures{At: time.Now(), Users: *users, Online: *online, Requests: *requests}
	if err := r.measure(ctx, t, *parallel); err != nil {
		return err
	}
	r.print(out)
	if err := write(t.file, r); err != nil {
		return err
	}
	if r.Missing > 0 || r.Counted != r.Heard {
		return fmt.Errorf("%d notifications were not heard; the API counted %d sessions, %d heard", r.Missing, r.Counted, r.Heard)
	}
	return nil
}

func (r *notifyFigures) measure(ctx context.Context, t *target, parallel int) error {
	run := fmt.Sprintf("%x", time.Now().UnixNano())
	names := make([]string, r.Users)
	for i := range names {
		names[i] = fmt.Sprintf("reader-%s-%d", run, i)
	}
	var mu sync.Mutex
	var deliver, answers []time.Duration
	var heard atomic.Int64
	hear := func(s said) {
		var n struct {
			Data struct {
				Sent int64 `json:"sent"`
			} `json:"data"`
		}
		if s.Push != "message" || json.Unmarshal(s.Data, &n) != nil || n.Data.Sent == 0 {
			return
		}
		heard.Add(1)
		mu.Lock()
		defer mu.Unlock()
		deliver = append(deliver, time.Since(time.Unix(0, n.Data.Sent)))
	}
	readers := make([]*person, r.Online)
	defer func() {
		for _, p := range readers {
			if p != nil {
				_ = p.socket.CloseNow()
			}
		}
	}()
	err := each(ctx, r.Online, func(ctx context.Context, i int) (err error) {
		readers[i], err = t.enter(ctx, "/ws/inbox", names[i], hear)
		return err
	})
	if err != nil {
		return err
	}
	want := int64(r.Online * r.Requests)
	r.cost, err = t.measure(func() error {
		g, asking := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for i := range r.Requests {
			g.Go(func() error {
				begun := time.Now()
				var answer struct {
					Sent     int `json:"sent"`
					Sessions int `json:"sessions"`
				}
				err := service{t}.post(asking, "/api/notifications", map[string]any{
					"users": names, "key": fmt.Sprintf("n%d", i), "data": map[string]any{"text": "something has happened", "sent": begun.UnixNano()},
				}, &answer)
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, time.Since(begun))
				r.Sent += answer.Sent
				r.Counted += answer.Sessions
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for end := time.Now().Add(patience); heard.Load() < want && time.Now().Before(end); {
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	r.Heard, r.Missing = int(heard.Load()), int(want-heard.Load())
	r.Answer, r.Deliver = latencyOf(slices.Clone(answers)), latencyOf(slices.Clone(deliver))
	r.PerSec = float64(r.Sent) / r.Seconds
	if r.CPU > 0 {
		r.PerCPU = float64(r.Sent) / r.CPU
	}
	return nil
}

func (r *notifyFigures) print(out io.Writer) {
	fmt.Fprintf(out, "load                   %d requests for %d users each, of whom %d are online\n", r.Requests, r.Users, r.Online)
	fmt.Fprintf(out, "notifications          %d in %.1f s: %.0f/s; heard %d, the API counted %d sessions\n", r.Sent, r.Seconds, r.PerSec, r.Heard, r.Counted)
	fmt.Fprintf(out, "request → heard        %v\n", r.Deliver)
	fmt.Fprintf(out, "request → answer       %v\n", r.Answer)
	r.cost.print(out, r.Sent, "notification")
	fmt.Fprintf(out, "missing                %d\n", r.Missing)
}
