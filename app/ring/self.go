package ring

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// Options say what a node can tell of itself.
type Options struct {
	AppID, Version string
	Modules        []string
	// Check asks Redis whether it is there; nil: the node needs none.
	Check    func(context.Context) error
	Figures  func() metrics.Figures
	Draining func() bool
	// Room says what the node has of a room; ok is false when it does not serve it.
	Room func(chat.RoomID) (l Local, ok bool)
}

// A Node is what a node says of itself.
type Node struct {
	AppID    string   `json:"appid"`
	Version  string   `json:"version"`
	Modules  []string `json:"modules"`
	Started  int64    `json:"started"` // Unix milliseconds, as all times
	Now      int64    `json:"now"`
	Draining bool     `json:"draining"`
	Redis    *Redis   `json:"redis"` // null: it needs none
	Sample            // its last one
	Events   []Event  `json:"events,omitempty"` // its last ones, oldest first; none where they stand among those of all
}

// Redis says whether a node hears it, and since when that is so.
type Redis struct {
	OK    bool   `json:"ok"`
	Since int64  `json:"since"`
	Why   string `json:"why,omitempty"` // it does not
}

// A Sample is how a node was at a moment.
type Sample struct {
	At          int64    `json:"at"`
	Connections int      `json:"connections"`
	Streams     int      `json:"streams"` // of the connections
	Rooms       int      `json:"rooms"`
	Members     int      `json:"members"`
	Away        int      `json:"away"`     // rooms at home elsewhere, when it last looked at all
	Outbox      int      `json:"outbox"`   // bytes that wait for readers
	Messages    float64  `json:"messages"` // passed on to members, each second
	Deliveries  float64  `json:"deliveries"`
	P50         *float64 `json:"p50"` // milliseconds from a publish command to its position, of the last ten seconds;
	P99         *float64 `json:"p99"` // null: nothing was published
}

// A Local is what one node has of a room.
type Local struct {
	Members  int    `json:"members"` // watchers among them
	Watchers int    `json:"watchers"`
	Position string `json:"pos"`  // of the last message
	Used     int64  `json:"used"` // when somebody last came or said something
}

const (
	sampleEvery = 2 * time.Second
	// maxSamples are ten minutes' worth.
	maxSamples = 300
	// measured is how many samples back the quantiles reach.
	measured = 5
)

// A Self is what a node knows of itself: what has happened, and how it was for ten
// minutes. All methods may be called concurrently.
type Self struct {
	// Static after construction.
	opts    Options
	started time.Time
	diary   diary

	// Guarded by mu.
	mu      sync.Mutex
	redis   Redis
	bridge  string // why the node does not hear Redis; "": it does
	check   string // why Redis does not answer; "": it does
	had     bool   // Redis has been there
	samples []Sample
	before  []reading // the last ones, oldest first; measured of them at the most
}

type reading struct {
	at time.Time
	metrics.Figures
}

// NewSelf builds a node's knowledge of itself. It takes samples once it runs.
func NewSelf(o Options) *Self {
	s := &Self{opts: o, started: time.Now(), diary: diary{by: o.AppID}, bridge: "not connected yet"}
	s.redis = Redis{Since: s.started.UnixMilli(), Why: s.bridge}
	s.Note(Event{Kind: Started})
	return s
}

// Note takes an event of this node down.
func (s *Self) Note(e Event) {
	e.Node = s.opts.AppID
	s.diary.note(e)
}

// Hears notes that the node hears what Redis says ("": nothing is wrong), or why it does
// not any more.
func (s *Self) Hears(wrong string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bridge = wrong
	s.judgeRedis()
}

// judgeRedis notes whether Redis is there: it must be heard, and answer. The lock is held.
func (s *Self) judgeRedis() {
	why := cmp.Or(s.bridge, s.check)
	was, now := s.redis, time.Now()
	if (why == "") == was.OK {
		return
	}
	s.redis = Redis{OK: why == "", Since: now.UnixMilli(), Why: why}
	switch {
	case why != "":
		s.Note(Event{Kind: RedisLost, Why: why})
	case s.had:
		s.Note(Event{Kind: RedisBack, Why: now.Sub(time.UnixMilli(was.Since)).Round(100 * time.Millisecond).String()})
	}
	s.had = true
}

// checkRedis asks Redis whether it is there.
func (s *Self) checkRedis(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleEvery/2)
	defer cancel()
	err := s.opts.Check(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = ""
	if err != nil {
		s.check = "it does not answer"
	}
	s.judgeRedis()
}

// Run takes samples until ctx ends. It returns nil.
func (s *Self) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s.sample(reading{time.Now(), s.opts.Figures()})
		if s.opts.Check != nil {
			s.checkRedis(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Self) sample(now reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := Sample{
		At: now.at.UnixMilli(), Connections: now.Connections, Streams: now.Streams, Rooms: now.Rooms, Members: now.Members, Away: now.Away, Outbox: now.OutboxBytes,
	}
	if n := len(s.before); n > 0 {
		last := s.before[n-1]
		seconds := now.at.Sub(last.at).Seconds()
		next.Messages = round((now.Publications - last.Publications) / seconds)
		next.Deliveries = round((now.Deliveries - last.Deliveries) / seconds)
		next.P50 = quantile(0.5, s.before[0].Append, now.Append)
		next.P99 = quantile(0.99, s.before[0].Append, now.Append)
	}
	s.samples = push(s.samples, next, maxSamples)
	s.before = push(s.before, now, measured)
}

// push appends, and lets go of the oldest beyond so many.
func push[T any](list []T, next T, most int) []T {
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, next)
}

func round(f float64) float64 { return math.Round(10*f) / 10 }

// quantile returns below what time, in milliseconds, a part of the measurements lie
// that were made between two readings of a histogram; nil when none were. Within a
// bucket they are taken to lie evenly.
func quantile(part float64, before, after []metrics.Bucket) *float64 {
	if len(before) != len(after) || len(after) < 2 {
		return nil
	}
	made := func(i int) float64 { return float64(after[i].Count) - float64(before[i].Count) }
	last := len(after) - 1
	wanted := part * made(last)
	if wanted <= 0 {
		return nil
	}
	i := 0
	for i < last && made(i) < wanted {
		i++
	}
	from, below := 0.0, 0.0
	if i > 0 {
		from, below = after[i-1].Seconds, made(i-1)
	}
	seconds := from // all that is known of the last bucket
	if i < last {
		seconds += (after[i].Seconds - from) * (wanted - below) / (made(i) - below)
	}
	ms := math.Round(seconds*1e5) / 100
	return &ms
}

// Report returns what the node says of itself.
func (s *Self) Report() *Node {
	n := &Node{
		AppID: s.opts.AppID, Version: s.opts.Version, Modules: s.opts.Modules,
		Started: s.started.UnixMilli(), Now: time.Now().UnixMilli(),
		Draining: s.opts.Draining(), Events: s.diary.all(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Check != nil {
		redis := s.redis
		n.Redis = &redis
	}
	if last := len(s.samples) - 1; last >= 0 {
		n.Sample = s.samples[last]
	}
	return n
}

// History returns the samples of the last ten minutes, oldest first.
func (s *Self) History() []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.samples)
}
