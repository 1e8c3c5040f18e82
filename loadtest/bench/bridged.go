package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A tally is what nodes have counted so far, all together.
type tally struct {
	appends float64 // publications that got a position
	heard   float64 // messages of the bridge that Redis has sent to nodes
}

// countBridged says how many messages Redis sends to nodes for each publication while
// members speak. It looks at the nodes' metrics when they have begun to, in the warm-up,
// and once more after measured, before they end: so looking costs the measured interval
// next to nothing.
func countBridged(ctx context.Context, metrics []string, measured time.Duration) (float64, error) {
	for {
		first, err := tallyOf(ctx, metrics)
		if err != nil {
			return 0, err
		}
		wait := 100 * time.Millisecond
		if first.appends > 0 {
			wait = measured
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("nobody spoke, or not for long enough")
		case <-time.After(wait):
		}
		if first.appends == 0 {
			continue
		}
		last, err := tallyOf(ctx, metrics)
		if err != nil {
			return 0, err
		}
		return (last.heard - first.heard) / (last.appends - first.appends), nil
	}
}

func tallyOf(ctx context.Context, metrics []string) (all tally, err error) {
	for _, url := range metrics {
		if err := all.add(ctx, url); err != nil {
			return tally{}, err
		}
	}
	return all, nil
}

// add adds what a node's metrics say.
func (c *tally) add(ctx context.Context, url string) error {
	b, err := get(ctx, url)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		sum := map[string]*float64{"chatring_appends_total": &c.appends, "chatring_bridge_heard_total": &c.heard}[name]
		if sum == nil {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", name, url, err)
		}
		*sum += v
	}
	return lines.Err()
}
