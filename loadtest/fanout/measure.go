package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/chatring/chatring/loadtest/proc"
)

// A phase is how far a run is.
type phase struct {
	settle    time.Duration // to wait in the end for what is under way
	measuring atomic.Bool   // times are kept
	hushed    atomic.Bool   // nothing more is begun
}

// measure runs something for each loop until it has counted what happens after
// a time to get warm.
func (t *target) measure(ctx context.Context, c *crowd, p *phase, warm, duration time.Duration, count func() int64, do func(context.Context, *loop) error) (span, error) {
	running, wait := c.start(ctx, do)
	var s span
	err := sleep(running, warm)
	if err == nil {
		p.measuring.Store(true)
		s, err = t.count(func() error { return sleep(running, duration) }, count)
		p.measuring.Store(false)
	}
	p.hushed.Store(true)
	if failed := wait(); failed != nil {
		return span{}, failed
	}
	return s, err
}

// A span is what was counted in an interval.
type span struct {
	seconds float64
	count   int64
	uses    []proc.Use // of the processes that are measured
	own     float64    // this program's CPU seconds
}

// count counts until something is over.
func (t *target) count(over func() error, count func() int64) (span, error) {
	before, err := proc.UsesOf(t.pids)
	if err != nil {
		return span{}, err
	}
	begun, own, counted := time.Now(), proc.OwnCPU(), count()
	if err := over(); err != nil {
		return span{}, err
	}
	after, err := proc.UsesOf(t.pids)
	if err != nil {
		return span{}, err
	}
	return span{time.Since(begun).Seconds(), count() - counted, proc.Between(before, after), proc.OwnCPU() - own}, nil
}

// perSecond is 0 when there are no seconds.
func perSecond(n int64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// printShares says which processes used how much, if there are several.
func printShares(out io.Writer, uses []proc.Use) {
	if len(uses) < 2 {
		return
	}
	for _, s := range proc.Shares(uses) {
		fmt.Fprintf(out, "  %-20s %.2f CPU seconds (%.2f user, %.2f system), %d processes\n", s.Name, s.User+s.System, s.User, s.System, s.Processes)
	}
}
