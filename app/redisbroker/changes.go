package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
)

// What has become of publications stands in a hash beside the log, and in an older
// one; append.lua keeps both. A field names the publication that was changed, and
// has
//
//	e <position> <time in ms> <body>    its last edit
//	d <position> <time in ms> <user>    who has deleted it
//
// with the position and the time of the change. The field "describes" has the
// room's description:
//
//	s <position> <time in ms> <body>
const (
	doesEdit     = "e"
	doesDelete   = "d"
	doesDescribe = "s"

	describes = "describes"
)

// changeOf says what a publication does to another one, and to which.
func changeOf(p chat.Publication, about chat.About) (does, which string) {
	id, change, ok := about.Changes(p)
	switch {
	case about.Describes:
		return doesDescribe, describes
	case !ok:
		return "", ""
	case change.Deleted:
		return doesDelete, changeField(id)
	}
	return doesEdit, changeField(id)
}

func changeField(id chat.Identity) string {
	return string(id.From) + " " + id.Key + " " + strconv.FormatInt(id.At, 10)
}

// Changes implements chat.Broker, in one round trip.
func (b *Broker) Changes(ctx context.Context, room chat.RoomID, of []chat.Publication) ([]chat.Change, error) {
	changes := make([]chat.Change, len(of))
	if len(of) == 0 {
		return changes, nil
	}
	fields := make([]string, len(of))
	abouts := make([]chat.About, len(of))
	for i, p := range of {
		id := p.Identity()
		abouts[i], _ = chat.ParseAbout(p.About) // of what is written by hand, what can be read
		if abouts[i].Edits != nil {
			id = abouts[i].Edits.Identity
		}
		fields[i] = changeField(id)
	}
	found, err := b.readChanges(ctx, room, fields)
	for i, c := range found {
		if abouts[i].IsMessage() || abouts[i].Edits != nil && c.Deleted {
			changes[i] = c
		}
	}
	return changes, err
}

// Description implements chat.Broker. The younger generation always has it.
func (b *Broker) Description(ctx context.Context, room chat.RoomID) (chat.Change, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	s, err := b.reads.HGet(ctx, changesKey(room), describes).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return chat.Change{}, nil
	case err != nil:
		return chat.Change{}, fmt.Errorf("description of %s: %w", room, unavailable(err))
	}
	return b.parseChange(room, s), nil
}

// readChanges reads fields of both generations.
func (b *Broker) readChanges(ctx context.Context, room chat.RoomID, fields []string) ([]chat.Change, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	pipe := b.reads.Pipeline()
	older, younger := pipe.HMGet(ctx, changesOldKey(room), fields...), pipe.HMGet(ctx, changesKey(room), fields...)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("changes in %s: %w", room, unavailable(err))
	}
	changes := make([]chat.Change, len(fields))
	for _, generation := range []*redis.SliceCmd{older, younger} {
		for i, v := range generation.Val() {
			if s, ok := v.(string); ok {
				changes[i] = b.parseChange(room, s)
			}
		}
	}
	return changes, nil
}

// parseChange reads what append.lua has written. What cannot be read is logged, and
// changes nothing.
func (b *Broker) parseChange(room chat.RoomID, s string) chat.Change {
	f := strings.SplitN(s, " ", 4)
	if len(f) == 4 {
		pos, bad := chat.ParsePosition(f[1])
		at, err := parseTime(f[2])
		if err = errors.Join(bad, err); err == nil {
			c := chat.Change{Position: pos, At: at}
			if c.Deleted = f[0] == doesDelete; c.Deleted {
				c.By = chat.UserID(f[3])
			} else {
				c.Body = []byte(f[3])
			}
			return c
		}
	}
	b.counters.unreadable.Add(1)
	b.options.Log.Error("what has become of a publication cannot be read", "room", room)
	return chat.Change{}
}
