package protocol

import (
	"strings"
	"testing"
)

// What is scanned are brackets and white space, but not those in strings.
func TestScan(t *testing.T) {
	for data, want := range map[string]int{
		`1`: 0, `"[[["`: 0, `"\"[["`: 0, `"\\"`: 0, `[]`: 1, `{"a":[{}],"b":[]}`: 3, `["\\",[1]]`: 2,
		strings.Repeat("[", 40) + strings.Repeat("]", 40): 40,
	} {
		if got, spaced := scan([]byte(data)); got != want || spaced {
			t.Errorf("scan(%s) = %d, %v, want %d", data, got, spaced, want)
		}
	}
	for data, want := range map[string]bool{`" \" "`: false, `["\\" ]`: true, "{\"a\":\t1}": true, "[\r\n]": true, `[1, 2]`: true} {
		if _, spaced := scan([]byte(data)); spaced != want {
			t.Errorf("scan(%s): spaced is %v", data, spaced)
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
