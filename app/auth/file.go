package auth

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// lookAgain is how often a file is looked at, at the most.
const lookAgain = 5 * time.Second

// A keyFile is a file with keys. Whoever asks for them looks whether the file
// has changed, if nobody has for a while; so a rotation needs no restart. A
// file that cannot be read any more changes nothing, and the log says so.
type keyFile struct {
	path   string
	parse  func([]byte) ([]key, error)
	opened time.Time    // a clock that nobody sets back
	look   atomic.Int64 // when to look again, since opened
	now    atomic.Pointer[keyFileContent]
}

type keyFileContent struct {
	keys []key
	info os.FileInfo // as it was before the file was read
}

func openKeyFile(path string, parse func([]byte) ([]key, error)) (*keyFile, error) {
	f := &keyFile{path: path, parse: parse, opened: time.Now()}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("keys of the tokens: %w", err)
	}
	keys, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("keys of the tokens: %w", err)
	}
	f.now.Store(&keyFileContent{keys, info})
	f.look.Store(int64(lookAgain))
	return f, nil
}

func (f *keyFile) read() ([]key, error) {
	b, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	keys, err := f.parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return keys, nil
}

func (f *keyFile) keys() []key {
	since := int64(time.Since(f.opened))
	if look := f.look.Load(); since >= look && f.look.CompareAndSwap(look, since+int64(lookAgain)) {
		f.readIfChanged()
	}
	return f.now.Load().keys
}

// readIfChanged is called by one goroutine at a time.
func (f *keyFile) readIfChanged() {
	old := f.now.Load()
	info, err := os.Stat(f.path)
	if err != nil {
		slog.Error("keys of the tokens cannot be read; those from before stay", "file", f.path, "err", err)
		return
	}
	if os.SameFile(info, old.info) && info.ModTime().Equal(old.info.ModTime()) && info.Size() == old.info.Size() {
		return
	}
	keys, err := f.read()
	if err != nil {
		slog.Error("keys of the tokens cannot be read; those from before stay", "file", f.path, "err", err)
		f.now.Store(&keyFileContent{old.keys, info}) // said once for each change
		return
	}
	f.now.Store(&keyFileContent{keys, info})
	slog.Info("keys of the tokens have changed", "file", f.path, "keys", len(keys))
}
