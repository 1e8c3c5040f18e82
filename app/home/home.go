// Package home asks HAProxy where rooms are at home, has them opened there, and
// leads members there who sit elsewhere. It knows neither sockets nor how nodes
// talk to each other.
package home

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/metrics"
)

// Sockets are those of this node that HAProxy has sent here for their rooms.
type Sockets interface {
	// Rooms returns the rooms for which they were opened after one time and not
	// after another.
	Rooms(after, until time.Time) []chat.RoomID
	// SendAway sends those of some rooms to other nodes, slowly, that were opened
	// before a time. It calls ahead with the rooms of those who are next, one
	// call at a time, and lets those stay whose rooms it returns. It says how
	// many it has sent when it is done or ctx has ended.
	SendAway(ctx context.Context, rooms map[chat.RoomID]time.Time, ahead func(context.Context, []chat.RoomID) (stay []chat.RoomID)) int
}

// Options say where to ask, and what to do with the answers.
type Options struct {
	AppID string // of this node
	// URL is where HAProxy listens for nodes. Empty: nothing is asked, and
	// nobody led.
	URL string
	// Open tells other nodes to open rooms, whose members are about to come, by
	// the node's APPID. It never blocks, and what it says may be lost.
	Open func(rooms map[string][]chat.RoomID) error
	// Away hears of rooms here whose homes, by their APPIDs, a look has found elsewhere,
	// and Led that members of so many rooms were sent there. Neither may block. Nil:
	// nobody minds.
	Away func(homes map[chat.RoomID]string)
	Led  func(rooms map[chat.RoomID]bool, sockets int)
	// Transport carries the questions; nil: TCP.
	Transport http.RoundTripper
}

// A Guide knows where rooms are at home. All methods may be called concurrently.
type Guide struct {
	// Static after construction.
	opts    Options
	ring    *ring
	sockets Sockets
	count   *metrics.Home

	// Owned by Run.
	led map[chat.RoomID]led
}

// Led says when members of a room were led home, and how long those stay here
// who have come since: there is something that sends them here, though the ring
// that is asked does not, or a node that comes and goes.
type led struct {
	at   time.Time
	wait time.Duration
}

// New builds a guide of sockets. It asks nothing until it is called.
func New(sockets Sockets, opts Options, count *metrics.Home) *Guide {
	return &Guide{
		opts: opts, ring: newRing(opts.URL, opts.Transport), sockets: sockets, count: count,
		led: make(map[chat.RoomID]led),
	}
}

// notYet is how long to wait before asking again whether the ring has let go of
// this node.
const notYet = 100 * time.Millisecond

// Announce has rooms of this node, which is off the ring or about to be, opened
// at their next homes. It waits until the ring names others, or ctx ends; when
// HAProxy does not answer it gives up. It returns nil: all members leave.
func (g *Guide) Announce(ctx context.Context, rooms []chat.RoomID) (stay []chat.RoomID) {
	for g.opts.URL != "" && len(rooms) > 0 {
		homes, err := g.ring.homes(ctx, rooms)
		rooms = rooms[:0:0]
		for room, home := range homes {
			if home == g.opts.AppID {
				rooms = append(rooms, room)
			}
		}
		g.open(homes)
		if err != nil {
			slog.Debug("rooms are not opened elsewhere before their members come", "err", err)
			return nil
		}
		if len(rooms) > 0 && !sleep(ctx, notYet) {
			return nil
		}
	}
	return nil
}

// open tells other nodes to open their rooms.
func (g *Guide) open(homes map[chat.RoomID]string) {
	rooms := make(map[string][]chat.RoomID)
	for room, home := range homes {
		if home != g.opts.AppID {
			rooms[home] = append(rooms[home], room)
		}
	}
	if len(rooms) == 0 {
		return
	}
	if err := g.opts.Open(rooms); err != nil {
		slog.Debug("other nodes do not hear which rooms to open", "err", err)
	}
}

// When the ring is looked at, and members are led.
const (
	// look is how often the ring is looked at: whether it names other homes than
	// before for some rooms that nobody is in.
	look = 5 * time.Second
	// secondLook is after what time a home that is not here is asked for again,
	// at least, before anybody is led there.
	secondLook = 5 * time.Second
	// settled is how long a member is left where it is, at least.
	settled = 10 * time.Second
	// All rooms are asked for again some time after the ring has changed, and
	// then at growing pauses, however long it stands: some may be pinned, or
	// their members have been left alone for a while.
	firstPause = 15 * time.Second
	lastPause  = 5 * time.Minute
	// Who comes back from home stays for a while, which doubles each time.
	firstWait = 30 * time.Second
	lastWait  = time.Hour
	// A round asks for so many rooms, and then waits for as long.
	page      = 100
	pagePause = 100 * time.Millisecond
)

// probes are the rooms whose homes are the ring's fingerprint. One node of eight
// that goes or comes changes it but once in 5,000 times.
var probes = func() (rooms []chat.RoomID) {
	for i := range 64 {
		rooms = append(rooms, chat.RoomID(fmt.Sprint("ring-probe-", i)))
	}
	return rooms
}()

// Run leads members home until ctx ends. It returns nil.
//
// All rooms are asked for when the ring has changed, and once in a while. Each
// is also asked for when somebody has come for it and has settled: a node that
// is away for moments changes the ring between two looks.
func (g *Guide) Run(ctx context.Context) error {
	if g.opts.URL == "" {
		return nil
	}
	var known map[chat.RoomID]string
	var asked time.Time // for the rooms of those who had come by then
	pause := lastPause
	next := time.Now().Add(pause)
	for sleep(ctx, look) {
		now := time.Now()
		ring, err := g.ring.homes(ctx, probes)
		if err != nil {
			slog.Debug("the ring cannot be looked at", "err", err)
			continue
		}
		changed := known != nil && !maps.Equal(known, ring)
		all := changed || !now.Before(next)
		if all {
			err = g.round(ctx, g.sockets.Rooms(time.Time{}, now), true)
		} else {
			err = g.round(ctx, g.sockets.Rooms(asked, now.Add(-settled)), false)
		}
		if err != nil {
			slog.Debug("members are not led home", "err", err)
			continue
		}
		known, asked = ring, now.Add(-settled)
		if all {
			if pause = min(2*pause, lastPause); changed {
				pause = firstPause
			}
			next = now.Add(pause - rand.N(pause/4)) // #nosec G404 -- it spreads rounds, and keeps nothing secret
		}
	}
	return nil
}

// round finds out which rooms are at home elsewhere, looks again later, and
// sends the members of those away for which both looks agree. All says
// whether the rooms are all of this node's.
func (g *Guide) round(ctx context.Context, rooms []chat.RoomID, all bool) error {
	away, err := g.away(ctx, rooms)
	if err != nil {
		return err
	}
	if all {
		g.count.Away.Set(float64(len(away)))
		g.forget(away)
	}
	if len(away) == 0 {
		return nil
	}
	if g.opts.Away != nil {
		g.opts.Away(away)
	}
	if !sleep(ctx, secondLook) {
		return ctx.Err()
	}
	began := time.Now()
	confirmed := make(map[chat.RoomID]bool)
	sent := g.sockets.SendAway(ctx, g.due(away), func(ctx context.Context, rooms []chat.RoomID) (stay []chat.RoomID) {
		homes, err := g.ring.homes(ctx, rooms)
		if err != nil { // for some of them
			slog.Debug("members stay, since HAProxy does not answer", "err", err)
		}
		for _, room := range rooms {
			if homes[room] == away[room] {
				confirmed[room] = true
			} else {
				delete(homes, room)
				stay = append(stay, room)
			}
		}
		g.open(homes)
		return stay
	})
	for room := range confirmed {
		if last := g.led[room]; began.Sub(last.at) >= last.wait { // else these had not settled then
			g.led[room] = led{began, min(max(2*last.wait, firstWait), lastWait)}
		}
	}
	if sent > 0 {
		g.count.Led.Add(float64(sent))
		slog.Info("members are led home", "sockets", sent, "rooms", len(confirmed))
		if g.opts.Led != nil {
			g.opts.Led(confirmed, sent)
		}
	}
	return nil
}

// due returns from before what time on members of rooms are to be here to be
// led home: they have settled, and have not come back from there of late.
func (g *Guide) due(away map[chat.RoomID]string) map[chat.RoomID]time.Time {
	now := time.Now()
	due := make(map[chat.RoomID]time.Time, len(away))
	for room := range away {
		due[room] = now.Add(-settled)
		if led, ok := g.led[room]; ok && now.Sub(led.at) < led.wait && led.at.Before(due[room]) {
			due[room] = led.at
		}
	}
	return due
}

// away asks for the homes of rooms and returns those elsewhere.
func (g *Guide) away(ctx context.Context, rooms []chat.RoomID) (map[chat.RoomID]string, error) {
	away := make(map[chat.RoomID]string)
	for rooms := range slices.Chunk(rooms, page) {
		homes, err := g.ring.homes(ctx, rooms)
		if err != nil {
			return nil, err
		}
		for room, home := range homes {
			if home != g.opts.AppID {
				away[room] = home
			}
		}
		if !sleep(ctx, pagePause) {
			return nil, ctx.Err()
		}
	}
	return away, nil
}

// forget drops what is known of rooms whose members have not come back from
// home while they were to stay.
func (g *Guide) forget(away map[chat.RoomID]string) {
	for room, led := range g.led {
		if _, here := away[room]; !here && time.Since(led.at) >= led.wait {
			delete(g.led, room)
		}
	}
}

// sleep waits, and is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
