package redisbroker

import (
	"crypto/sha1" // #nosec G505 -- the name that Redis gives a script
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"
)

var (
	//go:embed append.lua
	appendSource string
	//go:embed signal.lua
	signalSource string

	appendScript = newScript(appendSource)
	signalScript = newScript(signalSource)
	// vitalScript appends also when Redis is full.
	vitalScript = newScript(strings.Replace(appendSource, "#!lua", "#!lua flags=allow-oom", 1))
)

// A script is Lua that Redis runs by its digest, once it has been loaded. It
// must leave nothing half done when it ends with an error.
type script struct {
	source, sha string
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) // #nosec G401 -- the same
	return &script{source, hex.EncodeToString(sum[:])}
}

// tellingScript appends and tells the application, for whom so many events may wait.
func tellingScript(backlog int) *script {
	return newScript(strings.Replace(appendSource, "local backlog = nil", "local backlog = "+strconv.Itoa(backlog), 1))
}
