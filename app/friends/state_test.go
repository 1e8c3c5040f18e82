package friends

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// table is what becomes of every pair that there can be, by every verb: the states of
// the one who acts and of the other by their first letters, '-' for none. "same"
// stands for a pair that stays, "no request" and "blocked" for errors.
const table = `
pair  request  accept      decline     remove  block  unblock
--    ra       no request  same        same    b-     same
-r    ff       no request  same        same    br     same
-b    rb       no request  same        same    bb     same
r-    same     no request  no request  --      b-     same
ra    same     no request  no request  --      b-     same
rb    same     no request  no request  -b      bb     same
ar    ff       ff          -r          same    br     same
ff    same     same        no request  --      b-     same
b-    blocked  no request  no request  same    same   --
br    blocked  no request  no request  same    same   -r
bb    blocked  no request  no request  same    same   -b
`

var letters = map[byte]State{'-': None, 'r': Requested, 'a': Asked, 'f': Friend, 'b': Blocked}

func pairOf(s string) Pair { return Pair{letters[s[0]], letters[s[1]]} }

// rows reads the table: what is expected of each pair, by verb.
func rows() map[Pair]map[Verb]string {
	all := make(map[Pair]map[Verb]string)
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(table, "no request", "no-request")), "\n")
	verbs := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		row := make(map[Verb]string)
		for i, verb := range verbs[1:] {
			row[Verb(verb)] = cells[i+1]
		}
		all[pairOf(cells[0])] = row
	}
	return all
}

var verbs = []Verb{Request, Accept, Decline, Remove, Block, Unblock}

// Every verb does to every pair what the table says.
func TestTransitions(t *testing.T) {
	for was, row := range rows() {
		for _, v := range verbs {
			is, err := next(v, was)
			var want Pair
			var fault error
			switch cell := row[v]; cell {
			case "same":
				want = was
			case "no-request":
				want, fault = was, errNoRequest
			case "blocked":
				want, fault = was, errBlocked
			default:
				want = pairOf(cell)
			}
			if is != want || !errors.Is(err, fault) {
				t.Errorf("%s of %v = %v, %v, want %v, %v", v, was, is, err, want, fault)
			}
		}
	}
}

// The table has every pair that two users can come to, whoever of them acts, and no
// other.
func TestTableIsComplete(t *testing.T) {
	reached := map[Pair]bool{{None, None}: true}
	for todo := []Pair{{None, None}}; len(todo) > 0; todo = todo[1:] {
		for _, v := range verbs {
			is, _ := next(v, todo[0])
			found := []Pair{is, is.Turned()}
			if is.Theirs == Asked { // there was no place for it
				found = append(found, Pair{is.Mine, None}, Pair{None, is.Mine})
			}
			for _, p := range found {
				if !reached[p] {
					reached[p] = true
					todo = append(todo, p)
				}
			}
		}
	}
	listed := make(map[Pair]bool)
	for p := range rows() {
		listed[p], listed[p.Turned()] = true, true
	}
	if !maps.Equal(reached, listed) {
		t.Errorf("reached %v, the table has %v", slices.Collect(maps.Keys(reached)), slices.Collect(maps.Keys(listed)))
	}
	for p := range reached {
		if _, ok := rows()[p]; !ok {
			t.Errorf("the table lacks %v", p)
		}
	}
}

// A verb that is repeated has no further effect.
func TestRepeats(t *testing.T) {
	for was := range rows() {
		for _, v := range verbs {
			is, err := next(v, was)
			if err != nil {
				continue
			}
			if again, err := next(v, is); again != is || err != nil {
				t.Errorf("%s of %v = %v, and again %v, %v", v, was, is, again, err)
			}
		}
	}
}

// Nothing that a user does shows whether the other one has blocked it, or has never
// heard of it: its own side and the answer are the same, whatever it tries.
func TestBlockedLooksLikeNobody(t *testing.T) {
	type sight struct{ blocked, nobody Pair }
	seen := map[sight]bool{}
	for todo := []sight{{Pair{None, Blocked}, Pair{None, None}}}; len(todo) > 0; todo = todo[1:] {
		for _, v := range verbs {
			blocked, err1 := next(v, todo[0].blocked)
			nobody, err2 := next(v, todo[0].nobody)
			if blocked.Mine != nobody.Mine || !errors.Is(err1, err2) {
				t.Fatalf("%s: of one who has blocked me %v, %v; of nobody %v, %v", v, blocked, err1, nobody, err2)
			}
			if blocked.Theirs != Blocked {
				t.Fatalf("%s lifts the other one's block: %v", v, blocked)
			}
			if is := (sight{blocked, nobody}); !seen[is] {
				seen[is] = true
				todo = append(todo, is)
			}
		}
	}
	for was := range rows() { // and to be blocked is to be removed, or to be left alone
		after, _ := next(Block, was)
		if removed, _ := next(Remove, was); after.Theirs != removed.Theirs {
			t.Errorf("block of %v leaves the other one with %s, remove with %s", was, after.Theirs, removed.Theirs)
		}
	}
}
