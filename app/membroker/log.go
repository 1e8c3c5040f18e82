package membroker

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/chatring/chatring/app/chat"
)

// A roomLog is the kept publications of one room, in order, and the window of
// its senders' keys. It is guarded by the cluster's mu.
type roomLog struct {
	entries []chat.Publication
	tail    chat.Position // the last position given; zero: none yet
	touched time.Time

	keys    map[senderKey]kept
	expires []senderKey // the keys, oldest first

	changes     map[chat.Identity]chat.Change // what has become of entries
	description chat.Change
}

type senderKey struct {
	from chat.UserID
	key  string
}

// kept is what is remembered of a publication under its sender's key.
type kept struct {
	position chat.Position
	at       time.Time // of the publication
	since    time.Time // when the key was used
	digest   [sha256.Size]byte
}

// digest tells what is said under a sender's key apart.
func digest(d chat.Draft, about chat.About) [sha256.Size]byte {
	if d.About == "" {
		return sha256.Sum256(d.Body)
	}
	return sha256.Sum256(append([]byte(about.Lasting()+" "), d.Body...))
}

// append gives a draft its position, unless it has one already. Restoring begins
// an epoch where the log ends before seen. Errors are chat.ErrConflict,
// chat.ErrDeleted and, unless restoring, chat.ErrRewound.
func (c *Cluster) append(l *roomLog, d chat.Publication, seen chat.Position, restoring bool) (p chat.Publication, err error) {
	now := time.Now()
	l.touched = now
	l.expireKeys(now.Add(-c.keyWindow))
	id := senderKey{d.From, d.Key}
	about, err := chat.ParseAbout(d.About)
	if err != nil {
		return chat.Publication{}, err
	}
	said := digest(d.Draft, about)
	if k, ok := l.keys[id]; ok {
		if k.digest != said {
			return chat.Publication{}, chat.ErrConflict
		}
		return chat.Publication{Draft: d.Draft, Position: k.position, At: k.at}, nil
	}
	if l.tail.Before(seen) && !restoring {
		return chat.Publication{}, chat.ErrRewound
	}
	if of, _, ok := about.Changes(d); ok && d.At.IsZero() && l.changes[of].Deleted {
		return chat.Publication{}, chat.ErrDeleted
	}
	d.Body = slices.Clone(d.Body)
	var prev chat.Mark
	if len(l.entries) > 0 {
		prev = l.entries[len(l.entries)-1].Mark()
	}
	p = chat.Publication{Draft: d.Draft, Position: l.next(seen, now), At: d.At}
	if p.At.IsZero() {
		p.At = time.UnixMilli(now.UnixMilli())
	}
	l.entries = append(l.entries, p)
	p.Prev, p.Linked = prev, true
	l.tail = p.Position
	l.keys[id] = kept{p.Position, p.At, now, said}
	l.expires = append(l.expires, id)
	l.take(p, about)
	if len(l.entries) > c.retention+c.retention/4 {
		l.entries = slices.Clone(l.entries[len(l.entries)-c.retention:])
		l.retake()
	}
	return p, nil
}

// take notes what an entry changes. A deletion is for good.
func (l *roomLog) take(p chat.Publication, about chat.About) {
	if about.Describes {
		l.description = chat.Change{Position: p.Position, At: p.At, Body: p.Body}
	}
	if of, change, ok := about.Changes(p); ok && !l.changes[of].Deleted {
		l.changes[of] = change
	}
}

// retake notes again what all entries change, and nothing else. A description
// stays when it is trimmed.
func (l *roomLog) retake() {
	clear(l.changes)
	for _, p := range l.entries {
		if about, err := chat.ParseAbout(p.About); err == nil {
			l.take(p, about)
		}
	}
}

// changesOf returns what has become of publications.
func (l *roomLog) changesOf(ps []chat.Publication) []chat.Change {
	changes := make([]chat.Change, len(ps))
	for i, p := range ps {
		about, _ := chat.ParseAbout(p.About) // it was appended
		switch {
		case about.IsMessage():
			changes[i] = l.changes[p.Identity()]
		case about.Edits != nil && l.changes[about.Edits.Identity].Deleted:
			changes[i] = l.changes[about.Edits.Identity]
		}
	}
	return changes
}

// next is the position after the tail, or the first of a new epoch when there
// is no tail or a node has seen a later one.
func (l *roomLog) next(seen chat.Position, now time.Time) chat.Position {
	if !l.tail.IsZero() && !l.tail.Before(seen) {
		return chat.Position{Epoch: l.tail.Epoch, Offset: l.tail.Offset + 1}
	}
	return chat.Position{Epoch: max(uint64(now.UnixMilli()), l.tail.Epoch+1, seen.Epoch+1)}
}

func (l *roomLog) expireKeys(before time.Time) {
	n := 0
	for n < len(l.expires) && l.keys[l.expires[n]].since.Before(before) {
		delete(l.keys, l.expires[n])
		n++
	}
	l.expires = slices.Delete(l.expires, 0, n)
}

func (l *roomLog) after(p chat.Position, limit int) []chat.Publication {
	i := l.search(p)
	if i < len(l.entries) && l.entries[i].Position == p {
		i++
	}
	return slices.Clone(l.entries[i : i+min(max(limit, 0), len(l.entries)-i)])
}

func (l *roomLog) before(p chat.Position, limit int) []chat.Publication {
	i := len(l.entries)
	if !p.IsZero() {
		i = l.search(p)
	}
	return slices.Clone(l.entries[i-min(max(limit, 0), i) : i])
}

// search returns the index of the first entry at or after p.
func (l *roomLog) search(p chat.Position) int {
	i, _ := slices.BinarySearchFunc(l.entries, p, func(e chat.Publication, p chat.Position) int {
		return e.Compare(p)
	})
	return i
}

// rewind forgets the last n entries, and the keys that came with them.
func (l *roomLog) rewind(n int) {
	l.entries = slices.Clone(l.entries[:max(len(l.entries)-n, 0)])
	l.tail = chat.Position{}
	if len(l.entries) > 0 {
		l.tail = l.entries[len(l.entries)-1].Position
	}
	if l.tail.Before(l.description.Position) {
		l.description = chat.Change{}
	}
	l.retake()
	l.expires = slices.DeleteFunc(l.expires, func(id senderKey) bool {
		lost := l.tail.Before(l.keys[id].position)
		if lost {
			delete(l.keys, id)
		}
		return lost
	})
}
