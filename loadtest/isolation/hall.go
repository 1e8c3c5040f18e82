package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// The measured rooms: how many, with how many members, one of whom says how many
// messages a second, which is less than allowed.
const (
	hallRooms   = 10
	hallMembers = 10
	hallSays    = 5
)

// A hall is rooms in which people talk, and whose deliveries are measured.
type hall struct {
	c       *client
	speech  *speech
	rooms   []string
	members [][]*socket // of each room; the first one speaks
	said    []int       // messages of each room

	// Guarded by speech.mu.
	into *samples // of the phase
}

// A message is what is said there.
type message struct {
	N   int   `json:"n"`   // the how-manieth of the room
	Due int64 `json:"due"` // when it was to be sent, in nanoseconds since 1970
}

func (c *client) openHall(ctx context.Context, s *speech) (*hall, error) {
	h := &hall{c: c, speech: s}
	for i := range hallRooms {
		room := fmt.Sprintf("%s-%d", c.room(i), time.Now().UnixNano())
		h.rooms = append(h.rooms, room)
		h.members, h.said = append(h.members, nil), append(h.said, 0)
		for m := range hallMembers {
			last := 0
			k, err := c.enter(ctx, room, fmt.Sprintf("member-%d-%d", i, m), true, s, func(f frame) { h.hear(f, &last) })
			if err != nil {
				h.close()
				return nil, err
			}
			h.members[i] = append(h.members[i], k)
		}
	}
	return h, nil
}

// hear notes a delivery to a member, who has heard the message of a number last.
func (h *hall) hear(f frame, last *int) {
	now := time.Now()
	var m message
	if err := json.Unmarshal(f.Data, &m); err != nil {
		return // counts as lost
	}
	h.speech.note(func() {
		if m.N <= *last {
			h.speech.Disorder++
			return
		}
		*last = m.N
		h.speech.Delivered++
		h.into.add(now.Sub(time.Unix(0, m.Due)))
	})
}

// talk has all rooms talk for a time, and waits for everything to be delivered.
func (h *hall) talk(ctx context.Context, into *samples) error {
	var acknowledged, delivered int
	h.speech.note(func() {
		h.into = into
		acknowledged, delivered = h.speech.Acknowledged, h.speech.Delivered
	})
	var talking sync.WaitGroup
	for i, room := range h.rooms {
		talking.Go(func() {
			every(ctx, hallSays, h.c.duration, func(due time.Time) {
				h.said[i]++
				b, _ := json.Marshal(message{h.said[i], due.UnixNano()}) // two numbers
				h.members[i][0].say(room, h.said[i], string(b))
			})
			h.members[i][0].answers()
		})
	}
	talking.Wait()
	for late := time.Now().Add(h.c.patience); ; time.Sleep(10 * time.Millisecond) { // between two looks
		missing := 0
		h.speech.note(func() {
			missing = (h.speech.Acknowledged-acknowledged)*hallMembers - (h.speech.Delivered - delivered)
		})
		if missing <= 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(late) {
			h.speech.note(func() { h.speech.Lost += missing })
			return nil
		}
	}
}

func (h *hall) close() {
	var leaving sync.WaitGroup
	for _, members := range h.members {
		for _, k := range members {
			leaving.Go(k.leave)
		}
	}
	leaving.Wait()
}
