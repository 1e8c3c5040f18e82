package redisbroker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// Append implements chat.Broker. A draft that is not answered by ctx's deadline
// does not land later, as far as the node's clock and Redis' run alike since
// their last comparison. Before the deadline it may land though Append has
// returned an error; its key makes a retry harmless.
func (b *Broker) Append(ctx context.Context, d chat.Draft, seen chat.Position) (chat.Publication, error) {
	return b.append(ctx, chat.Publication{Draft: d}, seen, false)
}

// Restore implements chat.Broker, as Append does.
func (b *Broker) Restore(ctx context.Context, p chat.Publication, seen chat.Position) (chat.Publication, error) {
	return b.append(ctx, p, seen, true)
}

func (b *Broker) append(ctx context.Context, d chat.Publication, seen chat.Position, restoring bool) (chat.Publication, error) {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	reply, err := b.commits.do(ctx, b.appendCall(d, seen, restoring))
	if err != nil {
		return chat.Publication{}, fmt.Errorf("append to %s: %w", d.Room, err)
	}
	p, known, others, err := parseAppended(reply)
	if err != nil {
		return chat.Publication{}, fmt.Errorf("append to %s: %w", d.Room, err)
	}
	p.Draft = d.Draft
	b.counters.appended(known, others)
	return p, nil
}

// appendCall keeps a copy of the body: the call may outlive its caller. What it
// hands to go-redis are pointers into one value: each text or number by itself
// would be an allocation of its own.
func (b *Broker) appendCall(d chat.Publication, seen chat.Position, restoring bool) *call {
	a := &struct {
		log, keys, old             string
		from, key, body, digest    string
		seen                       chat.Position
		retention, keyWindow, life int64
		begin, at, wait            string
	}{
		log: logKey(d.Room), keys: keysKey(d.Room), old: keysOldKey(d.Room),
		from: string(d.From), key: d.Key, body: string(d.Body), digest: digest(d.Body, ""),
		seen:      seen,
		retention: int64(b.options.Retention),
		keyWindow: b.options.KeyWindow.Milliseconds(),
		life:      int64((b.options.RetentionAge+b.options.KeyWindow)/time.Second) + 1,
	}
	if restoring {
		a.begin = "begin"
	}
	if !d.At.IsZero() {
		a.at = strconv.FormatInt(d.At.UnixMilli(), 10)
	}
	if b.options.keep().waits() {
		a.wait = "wait"
	}
	var more []any
	if d.About != "" {
		about, err := chat.ParseAbout(d.About)
		if err != nil {
			b.options.Log.Error("what a publication is about cannot be read", "room", d.Room, "error", err)
		}
		does, which := changeOf(d, about)
		a.digest = digest(d.Body, about.Lasting())
		more = []any{d.About, does, which}
	}
	script := appendScript
	switch {
	case d.Room == b.options.Vital:
		script = vitalScript
	case b.options.Tells != nil && b.options.Tells(d.Room):
		script = b.telling
	}
	return &call{
		script:  script,
		keys:    []any{&a.log, &a.keys, &a.old},
		room:    d.Room,
		channel: roomChannel(d.Room),
		args: []any{
			&a.from, &a.key, &a.body, &a.digest, &a.seen.Epoch, &a.seen.Offset,
			&a.retention, &a.keyWindow, &a.life, &a.begin, &a.at, &a.wait,
		},
		more:  more,
		size:  len(d.From) + len(d.Key) + len(d.Body) + len(d.About),
		again: true,
	}
}

// digest tells what is said under a sender's key apart. Sixty-four bits are
// enough: who makes two collide deceives only himself.
func digest(body []byte, about string) string {
	said := body
	if about != "" {
		said = append([]byte(about+" "), body...)
	}
	sum := sha256.Sum256(said)
	return hex.EncodeToString(sum[:8])
}

// parseAppended reads what append.lua answers.
func parseAppended(reply any) (p chat.Publication, known bool, others int64, err error) {
	fields, ok := reply.([]any)
	if !ok || len(fields) != 6 {
		return p, false, 0, fmt.Errorf("%w: append.lua answered %v", chat.ErrUnavailable, reply)
	}
	position, _ := fields[0].(string)
	at, _ := fields[1].(string)
	before, _ := fields[2].(int64)
	others, _ = fields[3].(int64)
	if p.Position, err = chat.ParsePosition(position); err != nil {
		return p, false, 0, fmt.Errorf("%w: append.lua answered %v", chat.ErrUnavailable, reply)
	}
	if p.At, err = parseTime(at); err != nil {
		return p, false, 0, fmt.Errorf("%w: append.lua answered %v", chat.ErrUnavailable, reply)
	}
	prev, _ := fields[4].(string)
	prevAt, prevKey, _ := strings.Cut(prev, " ")
	if p.Prev, p.Linked, err = parsePrev(prevAt, prevKey); err != nil {
		return p, false, 0, fmt.Errorf("%w: append.lua answered %v", chat.ErrUnavailable, reply)
	}
	return p, before == 1, others, nil
}

// parseClock reads the end of what append.lua answers: Redis' clock.
func parseClock(reply any) (theirs time.Time, ok bool) {
	fields, _ := reply.([]any)
	if len(fields) == 0 {
		return theirs, false
	}
	ms, _ := fields[len(fields)-1].(string)
	theirs, err := parseTime(ms)
	return theirs, err == nil
}

// parsePrev reads what append.lua says of the publication before; linked is
// false when it says that it does not know.
func parsePrev(at, key string) (mark chat.Mark, linked bool, err error) {
	switch at {
	case "?":
		return 0, false, nil
	case "0":
		return 0, true, nil
	}
	t, err := parseTime(at)
	return chat.MarkOf(t, key), true, err
}

// parseTime reads milliseconds since 1970.
func parseTime(ms string) (time.Time, error) {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(n), nil
}
