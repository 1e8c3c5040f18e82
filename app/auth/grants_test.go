package auth_test

import (
	"path"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatring/chatring/app/auth"
	"github.com/chatring/chatring/app/chat"
)

// rights are those of a token with these grants, where a token without any may
// write in the open rooms.
func rights(t *testing.T, grants any, open ...string) chat.Rights {
	t.Helper()
	o := options()
	o.SecretFile, o.OpenRooms = file(t, secret), open
	change := jwt.MapClaims{}
	if grants != nil {
		change["grants"] = grants
	}
	id, err := newJWT(t, o).Authenticate(auth.Credentials{Token: hmac.sign(t, claims(change))})
	if err != nil {
		t.Fatal(err)
	}
	return id.Rights
}

type may map[string]string

// A token may do in a room what the best of its grants that fit gives; without
// grants, what the node lets everybody do.
func TestGrants(t *testing.T) {
	for _, c := range []struct {
		name   string
		grants any
		open   []string
		want   map[chat.RoomID]chat.Access
	}{
		{
			"a name, a pattern",
			[]may{{"rooms": "team-*", "may": "write"}, {"rooms": "news", "may": "read"}, {"rooms": "show", "may": "watch"}},
			[]string{"*"},
			map[chat.RoomID]chat.Access{"team-a": chat.Write, "team-": chat.Write, "team": chat.NoAccess, "a-team-": chat.NoAccess, "news": chat.Read, "news2": chat.NoAccess, "show": chat.Watch, "NEWS": chat.NoAccess, "lobby": chat.NoAccess},
		},
		{
			"the highest of all that fit, wherever it stands",
			[]may{{"rooms": "a*", "may": "watch"}, {"rooms": "*b", "may": "write"}, {"rooms": "*", "may": "read"}},
			nil,
			map[chat.RoomID]chat.Access{"ab": chat.Write, "a": chat.Read, "b": chat.Write, "c": chat.Read},
		},
		{"stars inside", []may{{"rooms": "*-eu-*.log", "may": "read"}}, nil, map[chat.RoomID]chat.Access{"x-eu-y.log": chat.Read, "x-eu-.log": chat.Read, "xeu-y.log": chat.NoAccess, "x-eu-y.logs": chat.NoAccess, "x-eu.log": chat.NoAccess}},
		{"a dot is a dot", []may{{"rooms": "a.b", "may": "read"}}, nil, map[chat.RoomID]chat.Access{"a.b": chat.Read, "axb": chat.NoAccess}},
		{"an empty list", []may{}, []string{"*"}, map[chat.RoomID]chat.Access{"lobby": chat.NoAccess}},
		{"no grants, all rooms open", nil, []string{"*"}, map[chat.RoomID]chat.Access{"lobby": chat.Write}},
		{"no grants, some rooms open", nil, []string{"lobby", "pub-*"}, map[chat.RoomID]chat.Access{"lobby": chat.Write, "pub-1": chat.Write, "team": chat.NoAccess}},
		{"no grants, no room open", nil, nil, map[chat.RoomID]chat.Access{"lobby": chat.NoAccess}},
	} {
		r := rights(t, c.grants, c.open...)
		for room, want := range c.want {
			if got := r.Access(room); got != want {
				t.Errorf("%s: %s in %s, want %s", c.name, auth.AccessWord(got), room, auth.AccessWord(want))
			}
		}
	}
}

// Grants that are not wholly understood make a token worthless: they may have
// been meant to take something away.
func TestMalformedGrants(t *testing.T) {
	o := options()
	o.SecretFile = file(t, secret)
	j := newJWT(t, o)
	good := may{"rooms": "a", "may": "read"}
	var many []may
	for range 65 {
		many = append(many, good)
	}
	for name, grants := range map[string]any{
		"null":                   nil,
		"text":                   "a=read",
		"an object":              good,
		"a list of texts":        []string{"a"},
		"65":                     many,
		"no rooms":               []may{{"may": "read"}},
		"no access":              []may{{"rooms": "a"}},
		"an unknown access":      []may{{"rooms": "a", "may": "admin"}},
		"an access in capitals":  []may{{"rooms": "a", "may": "READ"}},
		"a member more":          []may{{"rooms": "a", "may": "read", "until": "noon"}},
		"a member in capitals":   []may{{"Rooms": "a", "may": "read"}},
		"a number for rooms":     []map[string]any{{"rooms": 7, "may": "read"}},
		"a list of rooms":        []map[string]any{{"rooms": []string{"a"}, "may": "read"}},
		"an empty pattern":       []may{{"rooms": "", "may": "read"}},
		"a long pattern":         []may{{"rooms": strings.Repeat("a", 129), "may": "read"}},
		"a slash":                []may{{"rooms": "a/*", "may": "read"}},
		"a question mark":        []may{{"rooms": "a?", "may": "read"}},
		"a line break":           []may{{"rooms": "a\n3*", "may": "read"}},
		"one good, one not good": []any{good, 7},
	} {
		c := claims(nil)
		c["grants"] = grants
		if taken(t, j, hmac.sign(t, c)) {
			t.Errorf("%s: taken", name)
		}
	}
	for _, bad := range [][]string{{"a b"}, {""}, {"a", "b?"}} {
		o.OpenRooms = bad
		if _, err := auth.NewJWT(o); err == nil || !strings.Contains(err.Error(), "auth.open_rooms") {
			t.Errorf("auth.open_rooms %q: %v, want refused", bad, err)
		}
	}
}

// A grant on the command line is a pattern and an access.
func TestParseGrant(t *testing.T) {
	for text, want := range map[string]auth.Grant{
		"team-*=read": {Rooms: "team-*", May: "read"},
		"a":           {Rooms: "a", May: "write"},
		"a=":          {}, "=read": {}, "a=b=read": {}, "a=admin": {}, "": {},
	} {
		got, err := auth.ParseGrant(text)
		if got != want || (err == nil) != (want != auth.Grant{}) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

// Sessions with the same grants share them, in whatever order the tokens have
// them, so that a connection does not pay for its patterns.
func TestGrantsAreShared(t *testing.T) {
	one := rights(t, []may{{"rooms": "a", "may": "read"}, {"rooms": "b*", "may": "write"}})
	two := rights(t, []may{{"rooms": "b*", "may": "write"}, {"rooms": "a", "may": "read"}, {"rooms": "a", "may": "read"}})
	if one != two {
		t.Errorf("%v and %v do not share their grants", one, two)
	}
	o := options()
	o.SecretFile = file(t, secret)
	j := newJWT(t, o)
	long := make([]may, 64)
	for i := range long {
		long[i] = may{"rooms": strings.Repeat("x", 60) + string(rune('0'+i%10)) + string(rune('0'+i/10)), "may": "read"}
	}
	token := hmac.sign(t, claims(jwt.MapClaims{"grants": long}))
	identities := make([]auth.Identity, 500)
	before := heap()
	for i := range identities {
		var err error
		if identities[i], err = j.Authenticate(auth.Credentials{Token: token}); err != nil {
			t.Fatal(err)
		}
	}
	each := (int64(heap()) - int64(before)) / int64(len(identities))
	runtime.KeepAlive(identities)
	if each > 500 { // the text of the grants alone is 4 kB
		t.Errorf("an identity keeps %d bytes, want a few", each)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Patterns fit the same names as regular expressions made of them do.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"*", ""}, {"a*", "a"}, {"*a*b*", "xaxbx"}, {"a**b", "ab"}, {"*ab", "aab"}, {"ab*ba", "aba"}, {"", ""}, {"*aab", "aaab"}, {"a*a", "a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		naive, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		if err != nil || strings.ToValidUTF8(name, "") != name || strings.ToValidUTF8(pattern, "") != pattern {
			return // regexp reads runes
		}
		if got, want := auth.Match(pattern, name), naive.MatchString(name); got != want {
			t.Errorf("%q fits %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// Every short pattern of two letters and stars agrees with the standard
// library's glob on every short name.
func TestMatchEverything(t *testing.T) {
	var words func(letters string, n int) []string
	words = func(letters string, n int) []string {
		if n == 0 {
			return []string{""}
		}
		all := words(letters, n-1)
		for _, w := range all {
			if len(w) == n-1 {
				for _, l := range letters {
					all = append(all, w+string(l))
				}
			}
		}
		return all
	}
	fits, names := 0, words("ab", 6)
	for _, pattern := range words("ab*", 5) {
		for _, name := range names {
			want, err := path.Match(pattern, name)
			if err != nil {
				t.Fatal(err)
			}
			if got := auth.Match(pattern, name); got != want {
				t.Fatalf("%q fits %q: %v, want %v", pattern, name, got, want)
			}
			if want {
				fits++
			}
		}
	}
	if fits < 1000 {
		t.Errorf("%d matches: this shows nothing", fits)
	}
}

// The worst patterns on the worst names take no time: nobody can stop a node
// with a token.
func TestMatchIsBounded(t *testing.T) {
	worst := make([]string, 64)
	for i := range worst {
		worst[i] = strings.Repeat("*a", 30) + strings.Repeat("*", i) + "b"
	}
	r := rights(t, nil, worst...)
	name := chat.RoomID(strings.Repeat("a", chat.MaxRoom))
	begun := time.Now()
	for range 100 {
		if r.Access(name) != chat.NoAccess {
			t.Fatal("it fits")
		}
	}
	if took := time.Since(begun); took > 5*time.Second { // milliseconds; with backtracking, years
		t.Errorf("100 looks took %v", took)
	}
}
