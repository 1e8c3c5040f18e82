package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
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
// members speak. It looks at the nodes once when they have begun to, in the warm-up,
// and once more before they end, so that looking costs the measured interval next to
// nothing.
func (s *stage) countBridged(ctx context.Context, nodes int) (float64, error) {
	for {
		first, err := s.tally(ctx, nodes)
		if err != nil {
			return 0, err
		}
		wait := 100 * time.Millisecond
		if first.appends > 0 {
			wait = s.duration
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("nobody spoke, or not for long enough")
		case <-time.After(wait):
		}
		if first.appends == 0 {
			continue
		}
		last, err := s.tally(ctx, nodes)
		if err != nil {
			return 0, err
		}
		return (last.heard - first.heard) / (last.appends - first.appends), nil
	}
}

func (s *stage) tally(ctx context.Context, nodes int) (all tally, err error) {
	for i := range nodes {
		if err := all.add(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", s.port+101+i)); err != nil {
			return tally{}, err
		}
	}
	return all, nil
}

// add adds what a node's metrics say.
func (c *tally) add(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
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
