package redisbroker

import (
	"strconv"
	"strings"

	"github.com/chatring/chatring/app/chat"
	"github.com/chatring/chatring/app/redisconn"
)

// Everything in Redis begins with this prefix. A room's name has been checked
// and stands in its keys; users and keys never do. The braces keep the keys of
// a room in one hash slot.
const prefix = redisconn.Prefix

func logKey(r chat.RoomID) string        { return prefix + "{" + string(r) + "}:log" }
func keysKey(r chat.RoomID) string       { return prefix + "{" + string(r) + "}:keys" }
func changesKey(r chat.RoomID) string    { return prefix + "{" + string(r) + "}:changes" }
func changesOldKey(r chat.RoomID) string { return prefix + "{" + string(r) + "}:changes:old" }
func keysOldKey(r chat.RoomID) string    { return prefix + "{" + string(r) + "}:keys:old" }

func roomChannel(r chat.RoomID) string { return prefix + "{" + string(r) + "}" }

// beatKey is a hash that all nodes share. It is no room's: those have braces.
const beatKey = prefix + "beat"

// roomOf returns the room of a channel; ok is false for a node's channel.
func roomOf(channel string) (r chat.RoomID, ok bool) {
	name, ok := strings.CutPrefix(channel, prefix+"{")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, "}")
	return chat.RoomID(name), ok
}

// nodeChannel names one connection of one run of a node. It is subscribed on
// that connection only and never unsubscribed, so it has a subscriber exactly
// while the connection lives in Redis' eyes.
func nodeChannel(n nodeID, connection uint64) string {
	return prefix + "node:" + string(n) + ":" + strconv.FormatUint(connection, 10)
}
