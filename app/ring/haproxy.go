package ring

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A Server is a node as HAProxy sees it: a line of be_chat.
type Server struct {
	Name   string `json:"name"`
	AppID  string `json:"appid"` // its id
	Weight int    `json:"weight"`
	Status string `json:"status"` // as HAProxy words it: UP, DOWN, NOLB, DRAIN, MAINT, …
	On     bool   `json:"on"`     // the ring: it gets those who come
	Why    string `json:"why"`    // it does not; "" if it does
	Since  int64  `json:"since"`  // when that began; Unix milliseconds
	Check  string `json:"check"`  // what HAProxy's last check found, such as "L7OK"
}

// ringBackend is the backend of haproxy.cfg that hashes rooms.
const ringBackend = "be_chat"

// maxServers is how many servers are taken in. haproxy.cfg has eight.
const maxServers = 64

// parseStats reads the servers of the ring out of HAProxy's /stats;csv, in the order
// of their ids. Which columns there are depends on its version; their names do not.
func parseStats(r io.Reader, now int64) ([]Server, error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord, lines.LazyQuotes, lines.ReuseRecord = -1, true, true
	header, err := lines.Read()
	if err != nil {
		return nil, fmt.Errorf("read HAProxy's columns: %w", err)
	}
	columns := make(map[string]int)
	for i, name := range header {
		columns[strings.TrimPrefix(name, "# ")] = i
	}
	for _, name := range []string{"pxname", "svname", "status", "weight", "lastchg", "sid", "type"} {
		if _, ok := columns[name]; !ok {
			return nil, fmt.Errorf("HAProxy's answer has no column %q: is ring.haproxy the address of its /stats?", name)
		}
	}
	var servers []Server
	for {
		line, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read HAProxy's statistics: %w", err)
		}
		field := func(name string) string {
			if i, ok := columns[name]; ok && i < len(line) {
				return strings.Clone(line[i])
			}
			return ""
		}
		const server = "2" // the type of a line
		if field("pxname") == ringBackend && field("type") == server && len(servers) < maxServers {
			servers = append(servers, readServer(field, now))
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("HAProxy has no backend %s", ringBackend)
	}
	slices.SortFunc(servers, func(a, b Server) int {
		return cmp.Or(cmp.Compare(len(a.AppID), len(b.AppID)), cmp.Compare(a.AppID, b.AppID))
	})
	return servers, nil
}

func readServer(field func(string) string, now int64) Server {
	s := Server{Name: field("svname"), AppID: field("sid"), Status: field("status"), Check: field("check_status")}
	weight, _ := strconv.Atoi(field("weight")) // the one in effect: 0 for DRAIN
	s.Weight, _ = strconv.Atoi(field("uweight"))
	s.Weight = cmp.Or(s.Weight, weight)
	since, _ := strconv.ParseInt(field("lastchg"), 10, 64)
	s.Since = now - 1000*since
	state, _, _ := strings.Cut(s.Status, " ") // "UP 1/3": about to go DOWN
	switch state {
	case "UP", "no":
		s.On = weight > 0
		s.Why = "its weight is 0"
	case "NOLB", "DRAIN":
		s.Why = "it drains"
	case "MAINT":
		s.Why = "HAProxy was told to leave it alone"
	default:
		s.Why = "HAProxy finds it down"
	}
	if s.On {
		s.Why = ""
	}
	return s
}
