package main

import (
	"encoding/json"
	"testing"
	"time"
)

// Ensure that data has the asked size, is JSON, and can be read back.
func TestData(t *testing.T) {
	for _, size := range []int{leastData, 64, 1000} {
		d := appendData([]byte("before"), 1234567890*time.Nanosecond, 7, 42, size)[len("before"):]
		if len(d) != size || !json.Valid(d) {
			t.Errorf("data of %d bytes, want %d: %s", len(d), size, d)
		}
		publisher, count, ok := originIn(d)
		if publisher != 7 || count != 42 || !ok || dueIn(d) != 1234567890 {
			t.Errorf("%s is read as %d.%d of %d, %v", d, publisher, count, dueIn(d), ok)
		}
	}
}

// Ensure that data of others is not taken for ours.
func TestForeignData(t *testing.T) {
	ours := string(appendData(nil, 1, 2, 3, 64))
	for _, d := range []string{"", "joined", `{"text":"hi"}`, ours[1:], ours[:leastData-1], " " + ours} {
		if _, _, ok := originIn([]byte(d)); ok {
			t.Errorf("%q is taken for ours", d)
		}
	}
}
