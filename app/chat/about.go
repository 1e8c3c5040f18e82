package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// An About is what a publication refers to, as Draft.About says it: at most one
// of Edits, Deletes and Describes, or else what a message may have, an answer
// to another one and users that it names.
type About struct {
	Edits, Deletes *Target // the one that says, from now on, what this one says, or nothing
	Describes      bool    // the room: what it says is the room's title and topic
	ReplyTo        *Target
	Mentions       []UserID
}

// A Target is a publication that another one refers to. A reset gives it
// another Position; its Identity stays.
type Target struct {
	Position
	Identity
}

// An Identity is what makes a publication the same one in another place of the
// log. A key alone may be used again, after its window.
type Identity struct {
	From UserID
	Key  string
	At   int64 // milliseconds since 1970
}

// Identity returns the publication's own.
func (p Publication) Identity() Identity { return Identity{p.From, p.Key, p.At.UnixMilli()} }

// Target returns what refers to the publication.
func (p Publication) Target() Target { return Target{p.Position, p.Identity()} }

// Mark returns the mark of the publication.
func (id Identity) Mark() Mark { return MarkOf(time.UnixMilli(id.At), id.Key) }

// A Change is what has become of a publication since: it was edited, or
// deleted for good. The zero Change says that it still is as it was said.
type Change struct {
	Position           // of the publication that changed it
	At       time.Time // its time
	Deleted  bool
	By       UserID // who deleted it
	Body     []byte // what it says since it was edited
}

// Changes returns what the publication p, which is about a, changes, and into
// what; ok is false when it changes no other one.
func (a About) Changes(p Publication) (id Identity, c Change, ok bool) {
	c = Change{Position: p.Position, At: p.At}
	switch {
	case a.Edits != nil:
		c.Body = p.Body
		return a.Edits.Identity, c, true
	case a.Deletes != nil:
		c.Deleted, c.By = true, p.From
		return a.Deletes.Identity, c, true
	}
	return Identity{}, Change{}, false
}

// IsMessage says whether a publication that is about a says something itself.
func (a About) IsMessage() bool { return a.Edits == nil && a.Deletes == nil && !a.Describes }

type wireTarget struct {
	Pos  string `json:"pos"`
	From UserID `json:"from"`
	Key  string `json:"key"`
	TS   int64  `json:"ts"`
}

type wireAbout struct {
	Edits     *wireTarget `json:"edits,omitempty"`
	Deletes   *wireTarget `json:"deletes,omitempty"`
	Describes bool        `json:"describes,omitempty"`
	ReplyTo   *wireTarget `json:"reply_to,omitempty"`
	Mentions  []UserID    `json:"mentions,omitempty"`
}

// String is what Draft.About has: one compact JSON object; "" when there is
// nothing that it refers to. No name has spaces, so it has none.
func (a About) String() string { return a.spell(Target.wire) }

// Lasting is String without positions: it stays the same over a reset.
func (a About) Lasting() string {
	return a.spell(func(t Target) wireTarget {
		t.Position = Position{}
		return t.wire()
	})
}

func (a About) spell(spell func(Target) wireTarget) string {
	if a.IsMessage() && a.ReplyTo == nil && len(a.Mentions) == 0 {
		return ""
	}
	target := func(t *Target) *wireTarget {
		if t == nil {
			return nil
		}
		w := spell(*t)
		return &w
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // what names may have is no HTML, and would take six times the bytes
	if err := e.Encode(wireAbout{target(a.Edits), target(a.Deletes), a.Describes, target(a.ReplyTo), a.Mentions}); err != nil {
		panic("chat: " + err.Error()) // texts and numbers
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (t Target) wire() wireTarget {
	return wireTarget{t.Position.String(), t.From, t.Key, t.At}
}

// ParseAbout reads what String writes. What is there beside is ignored.
func ParseAbout(s string) (a About, err error) {
	if s == "" {
		return a, nil
	}
	var w wireAbout
	if err := json.Unmarshal([]byte(s), &w); err != nil {
		return a, fmt.Errorf("about: %w", err)
	}
	a.Describes, a.Mentions = w.Describes, w.Mentions
	for _, t := range []struct {
		from *wireTarget
		to   **Target
	}{{w.Edits, &a.Edits}, {w.Deletes, &a.Deletes}, {w.ReplyTo, &a.ReplyTo}} {
		if t.from == nil {
			continue
		}
		pos, err := ParsePosition(t.from.Pos)
		if err != nil {
			return About{}, fmt.Errorf("about: %w", err)
		}
		*t.to = &Target{pos, Identity{t.from.From, t.from.Key, t.from.TS}}
	}
	return a, nil
}
