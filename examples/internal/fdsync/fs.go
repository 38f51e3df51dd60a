package fdsync

import "github.com/cockroachdb/pebble/v2/vfs"

// FS is a file system whose files are synced in the background. It is safe for
// concurrent use.
type FS struct {
	vfs.FS
	ring *ring // nil where the kernel has none
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system over another. Close it when its files are closed.
func New(fs vfs.FS) *FS { return &FS{FS: fs, ring: newRing()} }

// Background reports whether files are synced in the background.
func (f *FS) Background() bool { return f.ring != nil }

// Close ends what New began.
func (f *FS) Close() error {
	if f.ring == nil {
		return nil
	}
	return f.ring.close()
}

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, opts...))
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(from, to, c))
}

func (f *FS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil || f.ring == nil || file.Fd() == vfs.InvalidFd {
		return file, err
	}
	return &syncedFile{File: file, ring: f.ring}, nil
}

// syncedFile is a file that is written.
type syncedFile struct {
	vfs.File
	ring *ring
}

// SyncData implements vfs.File.
func (s *syncedFile) SyncData() error {
	if err, taken := s.ring.sync(s.Fd()); taken {
		return err
	}
	return s.File.SyncData()
}
