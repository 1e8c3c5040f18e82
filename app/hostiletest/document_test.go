package hostiletest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// docs/hostile.md lists every case, what is sent, the answer, and who tests it.
func TestCorpusIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/hostile.md")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for line := range strings.Lines(string(b)) {
		if row := strings.TrimSpace(line); strings.HasPrefix(row, "| ") && len(row) > 5 && row[3] >= '0' && row[3] <= '9' {
			got = append(got, row)
		}
	}
	seen := map[string]bool{}
	for _, h := range corpus() {
		if seen[h.id] || (h.run == nil) == (h.elsewhere == "") {
			t.Errorf("%s is there twice, or does not say who tests it", h.id)
		}
		seen[h.id] = true
		where := h.elsewhere
		if where == "" {
			where = "`TestHostile`"
		}
		want = append(want, fmt.Sprintf("| %s | %s | %s | %s |", h.id, h.sent, h.answer, where))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table of docs/hostile.md must be\n\n%s\n", strings.Join(want, "\n"))
	}
}
