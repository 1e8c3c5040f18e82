package main

import (
	"context"
	"time"
)

var networkFaults = []fault{
	{
		name:    "network",
		promise: "A network that delays by 100 to 300 ms, slices and cuts, between clients and HAProxy and between nodes and Redis, changes neither the order nor the number of messages.",
		rate:    50,
		prepare: throughProxies,
		inject:  badNetwork,
		heal:    goodNetwork,
		noticed: socketsEnded,
		within:  bounds{notice: 3 * time.Second, repair: 10 * time.Second, silence: 6 * time.Second},
	},
	{
		name:    "network-split",
		promise: "The same where the members of each room sit on all nodes, and hear each other over that network.",
		split:   true,
		rate:    50,
		env:     []string{"CHATRING_HOME_URL="}, // members stay where they are
		prepare: throughProxies,
		inject:  badNetwork,
		heal:    goodNetwork,
		noticed: socketsEnded,
		within:  bounds{notice: 3 * time.Second, repair: 10 * time.Second, silence: 6 * time.Second},
	},
}

// How bad the network is, for how long, and what share of the connections it cuts how
// often: every member loses one or two in that time.
const (
	lateLow, lateHigh = 100 * time.Millisecond, 300 * time.Millisecond
	sliceSize         = 100
	badTime           = 15 * time.Second
	cutEvery          = 500 * time.Millisecond
	cutShare          = 0.05
)

// throughProxies puts a proxy between the players and each of their doors.
func throughProxies(_ context.Context, s *scene) error {
	for i, door := range s.entrances {
		p, err := newProxy(door)
		if err != nil {
			return err
		}
		s.cleanup(p.close)
		s.streets = append(s.streets, p)
		s.entrances[i] = p.addr
	}
	return nil
}

func (s *scene) network() []*proxy { return append(s.redis[:len(s.redis):len(s.redis)], s.streets...) }

func badNetwork(ctx context.Context, s *scene) error {
	for _, p := range s.network() {
		p.delays(lateLow, lateHigh)
		p.slices(sliceSize)
	}
	cuts := 0
	for time.Since(s.began) < badTime {
		if !sleep(ctx, cutEvery) {
			return ctx.Err()
		}
		for _, p := range s.network() {
			cuts += p.cut(cutShare)
		}
	}
	s.note("%d connections cut in %v", cuts, badTime)
	if cuts == 0 {
		s.wrong("no connection was cut: nothing was shown")
	}
	return nil
}

func goodNetwork(_ context.Context, s *scene) error {
	for _, p := range s.network() {
		p.heal()
	}
	return nil
}
