package chat_test

import (
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chatring/chatring/app/chat"
)

// A room's name is what the documents say, and what HAProxy lets through: a
// name that only one of the two takes would hash to one node and open nowhere.
// A direct room has a place on the ring as well, an inbox none; what HAProxy
// lets through beside them is a direct room in another spelling.
func FuzzRoom(f *testing.F) {
	for _, s := range []string{
		"lobby", "A", "0", "a.b_c-d", "a\r\nSET x 1", "a b", "../x", "{a}{b}", "chat:*", "", "\U0001F600", "שלום", "a\x00b", "-a", "_a", ".", "a%2fb", "a\n",
		"chatring:{lobby}:log", "!nodes", strings.Repeat("a", 64), strings.Repeat("a", 65),
		"@alice", "@alice+bob", "@bob+alice", "@a+a", "@auth0=7C5f+b", "@auth0=7c5f+b", "@=61+b", "@a%2Bb", "@A+@B", "@a+b+c", "@a+", "@+b", "@=+b", "@a+b=2", "@+",
		"@" + strings.Repeat("=7C", 128) + "+~", "@" + strings.Repeat("=7C", 128) + "+=7E", "@" + strings.Repeat("=7C", 129) + "+=7E", "@a=20b+c", "@=FF+a",
	} {
		f.Add(s)
	}
	documented := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	b, err := os.ReadFile("../../haproxy/haproxy.cfg")
	if err != nil {
		f.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^ *acl room_ok +var\(txn\.room\) -m reg (\S+)$`).FindAllSubmatch(b, -1)
	if len(rules) != 2 {
		f.Fatalf("haproxy.cfg has %d rules for rooms, want one for named rooms and one for direct ones", len(rules))
	}
	named, direct := regexp.MustCompile(string(rules[0][1])), regexp.MustCompile(string(rules[1][1]))
	f.Fuzz(func(t *testing.T, s string) {
		room, err := chat.ParseRoom(s)
		if want := documented.MatchString(s); (err == nil) != want || named.MatchString(s) != want {
			t.Errorf("%q: ParseRoom says %v, HAProxy %v, the documents %v", s, err, named.MatchString(s), want)
		}
		if err == nil && string(room) != s {
			t.Errorf("%q became %q", s, room)
		}
		room, err = chat.ParseAddress(s)
		a, b, pair := room.Pair()
		if passes := direct.MatchString(s); pair && !passes || passes && !pair && err == nil {
			t.Errorf("%q: ParseAddress says %q, %v, HAProxy %v", s, room, err, passes)
		}
		if again, err := chat.Direct(b, a); pair && (err != nil || string(again) != s) {
			t.Errorf("%q is of %q and %q, who have %q, %v", s, a, b, again, err)
		}
	})
}

// A position has one spelling, and positions are ordered as their two numbers
// are.
func FuzzPosition(f *testing.F) {
	for _, s := range []string{
		"0-0", "1763776000000-42", "18446744073709551615-18446744073709551615", "-1", "0", "1-", "-1-1", "18446744073709551616-0", "01-1", "1-01", "+1-1", "1-1-1",
		"0x1-1", "1_0-1", "$", "1-1\x00", "١-1",
	} {
		f.Add(s, "1-1")
	}
	canonical := regexp.MustCompile(`^(0|[1-9][0-9]*)-(0|[1-9][0-9]*)$`)
	limit := new(big.Int).Lsh(big.NewInt(1), 64)
	// number is epoch * 2^64 + offset, read by other means; nil: no position.
	number := func(s string) *big.Int {
		m := canonical.FindStringSubmatch(s)
		if m == nil {
			return nil
		}
		epoch, _ := new(big.Int).SetString(m[1], 10)
		offset, _ := new(big.Int).SetString(m[2], 10)
		if epoch.Cmp(limit) >= 0 || offset.Cmp(limit) >= 0 {
			return nil
		}
		return epoch.Mul(epoch, limit).Add(epoch, offset)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p, err := chat.ParsePosition(a)
		n := number(a)
		if (err == nil) != (n != nil) {
			t.Fatalf("ParsePosition(%q) = %v, %v", a, p, err)
		}
		if err != nil {
			return
		}
		if p.String() != a {
			t.Errorf("%q prints as %q", a, p)
		}
		if prev := p.Prev(); prev != p && (!prev.Before(p) || new(big.Int).Sub(n, number(prev.String())).Cmp(big.NewInt(1)) != 0) {
			t.Errorf("%v comes directly before %v", prev, p)
		}
		q, err := chat.ParsePosition(b)
		if err != nil {
			return
		}
		if got, want := p.Compare(q), n.Cmp(number(b)); got != want || q.Compare(p) != -want || p.Before(q) != (want < 0) {
			t.Errorf("%v compared with %v is %d, want %d", p, q, got, want)
		}
		if p.Follows(q) && !q.Before(p) {
			t.Errorf("%v follows %v and does not come after it", p, q)
		}
	})
}
