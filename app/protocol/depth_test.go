package protocol

import (
	"strings"
	"testing"
)

// Depth counts brackets, but not those in strings.
func TestDepth(t *testing.T) {
	for data, want := range map[string]int{
		`1`: 0, `"[[["`: 0, `"\"[["`: 0, `"\\"`: 0, `[]`: 1, `{"a":[{}],"b":[]}`: 3, `["\\",[1]]`: 2,
		strings.Repeat("[", 40) + strings.Repeat("]", 40): 40,
	} {
		if got := depth([]byte(data)); got != want {
			t.Errorf("depth(%s) = %d, want %d", data, got, want)
		}
	}
	for n, ok := range map[int]bool{maxDepth: true, maxDepth + 1: false} {
		data := strings.Repeat("[", n) + strings.Repeat("]", n)
		_, err := ParseCommand([]byte(`{"id":1,"cmd":"publish","room":"r","data":` + data + `}`))
		if (err == nil) != ok {
			t.Errorf("data nested %d deep: %v", n, err)
		}
	}
}
