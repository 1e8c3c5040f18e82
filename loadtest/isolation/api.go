package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Answers are what requests came to. All methods may be called concurrently.
type answers struct {
	Good    int            `json:"good"`
	Refused int            `json:"refused"` // 429 and 503: come back later
	NoHint  int            `json:"refused_without_retry_after"`
	Other   map[string]int `json:"other,omitempty"`

	mu sync.Mutex // guards all
}

func (a *answers) count(resp *http.Response, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.other(err.Error())
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusSwitchingProtocols:
		a.Good++
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
		a.Refused++
		if resp.Header.Get("Retry-After") == "" {
			a.NoHint++
		}
	default:
		a.other(resp.Status)
	}
}

func (a *answers) other(what string) {
	if a.Other == nil {
		a.Other = make(map[string]int)
	}
	if len(a.Other) < 20 {
		a.Other[what]++
	}
}

// A client is where requests and sockets come from: those that are measured from
// one address of this machine, and each flood from another, since HAProxy counts
// by them.
type client struct {
	options
	run  string // names the rooms of this run
	from struct{ probes, requests, sockets *http.Client }
}

// atOnce is how many requests may be under way from one place.
const atOnce = 64

func newClient(o options) *client {
	from := func(last byte) *http.Client {
		dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, last)}}
		return &http.Client{
			Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: atOnce},
			Timeout:   30 * time.Second,
		}
	}
	c := &client{options: o, run: fmt.Sprintf("%x", time.Now().UnixNano())}
	c.from.probes, c.from.requests, c.from.sockets = from(1), from(2), from(3)
	return c
}

func (c *client) close() {
	for _, from := range []*http.Client{c.from.probes, c.from.requests, c.from.sockets} {
		from.CloseIdleConnections()
	}
}

// request asks the API for something as a service.
func (c *client) request(ctx context.Context, from *http.Client, service string) (*http.Response, error) {
	between := "?"
	if strings.Contains(c.ask, "?") {
		between = "&"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+c.ask+between+"service="+service, nil)
	if err != nil {
		return nil, err
	}
	resp, err := from.Do(req)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp, err
}

// probe asks the API at a constant rate, whatever the answers take. A time begins
// when a request is due, not when this program comes to it.
func (c *client) probe(ctx context.Context, s *samples, a *answers) error {
	var asking sync.WaitGroup
	free := make(chan struct{}, atOnce)
	every(ctx, c.probes, c.duration, func(due time.Time) {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			resp, err := c.request(ctx, c.from.probes, "probe")
			if err == nil && resp.StatusCode == http.StatusOK {
				s.add(time.Since(due))
			}
			a.count(resp, err)
		})
	})
	asking.Wait()
	return ctx.Err()
}

// floodAPI asks the API for as much as it is told to, and more than it may, until
// the flood is ended.
func (c *client) floodAPI(ctx context.Context, a *answers) *flood {
	f := newFlood(ctx)
	due := make(chan struct{}, 10*atOnce)
	f.work.Go(func() {
		every(f.ctx, c.requests, forever, func(time.Time) {
			select {
			case due <- struct{}{}:
			default: // the cluster does not answer as fast
			}
		})
		close(due)
	})
	for range atOnce {
		f.work.Go(func() {
			for range due {
				if f.ctx.Err() != nil {
					return
				}
				a.count(c.request(context.WithoutCancel(ctx), c.from.requests, "flood"))
			}
		})
	}
	return f
}

// A flood runs until it is ended.
type flood struct {
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

func newFlood(ctx context.Context) *flood {
	f := &flood{}
	f.ctx, f.stop = context.WithCancel(ctx)
	return f
}

// end returns when all of it has ended.
func (f *flood) end() {
	f.stop()
	f.work.Wait()
}

const forever = 1 << 62

// every calls do at a rate, with the moment when each call was due, for a time or
// until ctx ends. What it came late for follows at once.
func every(ctx context.Context, perSecond float64, d time.Duration, do func(due time.Time)) {
	began := time.Now()
	step := time.Duration(float64(time.Second) / perSecond)
	for i := time.Duration(0); i*step < d && ctx.Err() == nil; i++ {
		due := began.Add(i * step)
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
		do(due)
	}
}
