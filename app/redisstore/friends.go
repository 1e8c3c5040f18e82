package redisstore

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/friends"
	"github.com/chatring/chatring/app/protocol"
	"github.com/chatring/chatring/app/redisconn"
)

var (
	//go:embed friends.lua
	friendsSource string
	//go:embed friends_swap.lua
	swapSource string
	//go:embed friends_list.lua
	listSource string
	//go:embed friends_say.lua
	saySource string
	//go:embed friends_look.lua
	lookSource string
	//go:embed friends_dead.lua
	deadSource string
	//go:embed friends_takeover.lua
	takeOverSource string

	swapScript = newScript("#!lua\n" + friendsSource + swapSource)
	listScript = newScript("#!lua flags=no-writes\n" + friendsSource + listSource)
	sayScript  = newScript("#!lua\n" + friendsSource + saySource)
	// Who is there is told also when Redis is full: it takes what little there is.
	lookScript     = newScript("#!lua flags=allow-oom\n" + friendsSource + lookSource)
	deadScript     = newScript("#!lua flags=no-writes\n" + deadSource)
	takeOverScript = newScript("#!lua flags=allow-oom\n" + friendsSource + takeOverSource)
)

// nodesKey is the set of the nodes that have users noted: the names of their
// channels.
const nodesKey = redisconn.Prefix + "friends:nodes"

// nodeKey is the set of the users noted for a node.
func nodeKey(node string) string {
	return redisconn.Prefix + "friends:" + strings.TrimPrefix(node, redisconn.Prefix)
}

// taken is how many users of a dead node are looked after at once: few, so that a
// script takes Redis for a few milliseconds only, though each may have hundreds of
// friends.
const taken = 16

// Friends is the store of the friend list. It implements friends.Store.
type Friends struct{ *Store }

var _ friends.Store = Friends{}

// nameOf is a user's name as it stands in keys and fields.
func nameOf(u chat.UserID) string { return string(chat.Inbox(u))[1:] }

// userOf is the user of such a name.
func userOf(name string) chat.UserID {
	u, _ := chat.RoomID("@" + name).Owner()
	return u
}

func friendsKey(u chat.UserID) string { return userKey(friends.Name, u) }

// letterOf is how a state stands in a hash.
func letterOf(s friends.State) string {
	if s == friends.None {
		return ""
	}
	return string(s[:1])
}

func stateOf(letter string) friends.State {
	for _, s := range []friends.State{friends.Requested, friends.Asked, friends.Friend, friends.Blocked} {
		if letterOf(s) == letter {
			return s
		}
	}
	return friends.None
}

// Pair implements friends.Store.
func (s Friends) Pair(ctx context.Context, user, other chat.UserID) (friends.Pair, error) {
	pipe := s.client.Pipeline()
	mine := pipe.HGet(ctx, friendsKey(user), nameOf(other))
	theirs := pipe.HGet(ctx, friendsKey(other), nameOf(user))
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, c := range []*redis.StringCmd{mine, theirs} {
		if err := c.Err(); err != nil && err != redis.Nil { //nolint:errorlint // it is never wrapped
			return friends.Pair{}, fmt.Errorf("pair: %w: %w", chat.ErrUnavailable, err)
		}
	}
	return friends.Pair{Mine: stateOf(mine.Val()), Theirs: stateOf(theirs.Val())}, nil
}

// swapErrors are what the script answers instead of a pair.
var swapErrors = map[string]error{
	"changed":  friends.ErrChanged,
	"friends":  friends.ErrFullOfFriends,
	"requests": friends.ErrFullOfRequests,
	"blocked":  friends.ErrFullOfBlocked,
}

// Swap implements friends.Store.
func (s Friends) Swap(ctx context.Context, c friends.Change) (friends.Pair, error) {
	reply, err := s.run(ctx, swapScript, []string{friendsKey(c.User), friendsKey(c.Other)},
		nameOf(c.User), nameOf(c.Other), letterOf(c.From.Mine), letterOf(c.From.Theirs),
		letterOf(c.To.Mine), letterOf(c.To.Theirs), c.Max, c.Pending)
	if err != nil {
		return c.From, fmt.Errorf("swap: %w", err)
	}
	words := texts(reply)
	if len(words) == 3 {
		return friends.Pair{Mine: stateOf(words[1]), Theirs: stateOf(words[2])}, nil
	}
	return c.From, swapErrors[words[0]]
}

// List implements friends.Store.
func (s Friends) List(ctx context.Context, user chat.UserID) (list []protocol.Friend, own friends.Status, err error) {
	reply, err := s.run(ctx, listScript, []string{friendsKey(user)}, nameOf(user))
	if err != nil {
		return nil, "", fmt.Errorf("list: %w", err)
	}
	parts, _ := reply.([]any)
	status, _ := parts[0].(string)
	entries, _ := parts[1].([]any)
	list = make([]protocol.Friend, len(entries))
	for i, e := range entries {
		words := texts(e)
		list[i] = protocol.Friend{User: userOf(words[0]), State: string(stateOf(words[1]))}
		if len(words) == 4 {
			list[i].Status = words[2]
			list[i].LastSeen, _ = strconv.ParseInt(words[3], 10, 64)
		}
	}
	return list, friends.Status(status), nil
}

// Say implements friends.Store.
func (s Friends) Say(ctx context.Context, user chat.UserID, status friends.Status) (there bool, told int, err error) {
	reply, err := s.run(ctx, sayScript, []string{friendsKey(user)}, nameOf(user), string(status[:1]))
	if err != nil {
		return false, 0, fmt.Errorf("say: %w", err)
	}
	n := newsOf(reply)
	return n.Changed, n.Told, nil
}

// Look implements friends.Store.
func (s Friends) Look(ctx context.Context, node string, at []friends.Sight) ([]friends.News, error) {
	calls := make([][]any, len(at))
	for i, u := range at {
		here := "0"
		if u.Here {
			here = "1"
		}
		calls[i] = []any{nameOf(u.User), node, here}
	}
	replies, err := s.runEach(ctx, lookScript, []string{nodeKey(node), nodesKey}, calls)
	if err != nil {
		return nil, fmt.Errorf("look: %w", err)
	}
	return allNews(replies), nil
}

// Dead implements friends.Store.
func (s Friends) Dead(ctx context.Context) ([]string, error) {
	reply, err := s.run(ctx, deadScript, []string{nodesKey})
	if err != nil {
		return nil, fmt.Errorf("dead nodes: %w", err)
	}
	return texts(reply), nil
}

// TakeOver implements friends.Store.
func (s Friends) TakeOver(ctx context.Context, node string) (found []friends.News, more bool, err error) {
	reply, err := s.run(ctx, takeOverScript, []string{nodeKey(node), nodesKey}, node, taken)
	if err != nil {
		return nil, false, fmt.Errorf("take over %s: %w", node, err)
	}
	parts, _ := reply.([]any)
	looked, _ := parts[0].([]any)
	return allNews(looked), parts[1] == int64(1), nil
}

// allNews reads what a script has found of several users.
func allNews(replies []any) []friends.News {
	all := make([]friends.News, len(replies))
	for i, r := range replies {
		all[i] = newsOf(r)
	}
	return all
}

// newsOf reads a yes or no and a number.
func newsOf(reply any) friends.News {
	parts, _ := reply.([]any)
	told, _ := parts[1].(int64)
	return friends.News{Changed: parts[0] == int64(1), Told: int(told)}
}

// texts reads an array of texts.
func texts(reply any) []string {
	parts, _ := reply.([]any)
	all := make([]string, len(parts))
	for i, p := range parts {
		all[i], _ = p.(string)
	}
	return all
}
