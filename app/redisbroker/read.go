package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
)

// ReadAfter implements chat.Broker. An entry that is no publication (somebody
// wrote it by hand) is logged and left out.
func (b *Broker) ReadAfter(ctx context.Context, room chat.RoomID, after chat.Position, limit int) ([]chat.Publication, error) {
	if after == lastPosition { // Redis refuses to begin behind it
		return nil, nil
	}
	read := func(ctx context.Context, after chat.Position, n int) ([]redis.XMessage, error) {
		return b.reads.XRangeN(ctx, logKey(room), "("+after.String(), "+", int64(n)).Result()
	}
	return b.readAll(ctx, room, after, limit, read)
}

// lastPosition is the greatest ID that a stream can have.
var lastPosition = chat.Position{Epoch: 1<<64 - 1, Offset: 1<<64 - 1}

// ReadBefore implements chat.Broker. It leaves out what ReadAfter leaves out.
func (b *Broker) ReadBefore(ctx context.Context, room chat.RoomID, before chat.Position, limit int) ([]chat.Publication, error) {
	read := func(ctx context.Context, before chat.Position, n int) ([]redis.XMessage, error) {
		start := "+"
		if !before.IsZero() {
			start = "(" + before.String()
		}
		return b.reads.XRevRangeN(ctx, logKey(room), start, "-", int64(n)).Result()
	}
	all, err := b.readAll(ctx, room, before, limit, read)
	slices.Reverse(all)
	return all, err
}

// readAll reads on from a position until there are limit publications or there
// is nothing more: unreadable entries must not look like the log's end.
func (b *Broker) readAll(
	ctx context.Context, room chat.RoomID, from chat.Position, limit int,
	read func(context.Context, chat.Position, int) ([]redis.XMessage, error),
) (all []chat.Publication, err error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	for len(all) < limit {
		want := limit - len(all)
		entries, err := read(ctx, from, want)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", room, unavailable(err))
		}
		for _, e := range entries {
			p, err := parseEntry(room, e)
			if err != nil {
				b.counters.unreadable.Add(1)
				b.options.Log.Error("log entry is no publication", "room", room, "position", e.ID, "error", err)
				continue
			}
			all = append(all, p)
		}
		if len(entries) < want {
			break
		}
		if from, err = chat.ParsePosition(entries[len(entries)-1].ID); err != nil {
			return nil, fmt.Errorf("read %s: %w", room, unavailable(err))
		}
	}
	return all, nil
}

var errNotPublication = errors.New("a field is missing or is not what it should be")

func parseEntry(room chat.RoomID, e redis.XMessage) (p chat.Publication, err error) {
	if p.Position, err = chat.ParsePosition(e.ID); err != nil {
		return p, err
	}
	at, _ := e.Values["at"].(string)
	if p.At, err = parseTime(at); err != nil {
		return p, err
	}
	from, fromOK := e.Values["from"].(string)
	key, keyOK := e.Values["key"].(string)
	body, bodyOK := e.Values["body"].(string)
	if !fromOK || !keyOK || !bodyOK {
		return p, errNotPublication
	}
	about, _ := e.Values["about"].(string)
	p.Draft = chat.Draft{Room: room, From: chat.UserID(from), Key: key, Body: []byte(body), About: about}
	return p, nil
}

// Tails implements chat.Broker, in one round trip. Where something else stands in
// a log's place there is none: one room must not hide the tails of the others.
func (b *Broker) Tails(ctx context.Context, rooms []chat.RoomID) ([]chat.Publication, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	pipe := b.reads.Pipeline()
	cmds := make([]*redis.XMessageSliceCmd, len(rooms))
	for i, room := range rooms {
		cmds[i] = pipe.XRevRangeN(ctx, logKey(room), "+", "-", 1)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	tails := make([]chat.Publication, len(rooms))
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, fmt.Errorf("read %d tails: %w", len(rooms), unavailable(err))
		}
		if last := cmd.Val(); len(last) == 1 {
			tails[i], _ = parseEntry(rooms[i], last[0]) // what can be read of it
		}
	}
	return tails, nil
}
