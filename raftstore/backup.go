package raftstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// backUp copies what Raft has in the DataDir, and the identity that it belongs
// to, into a directory of its own inside the DataDir, durably. The directory
// bears its name once it is complete, and no earlier.
func backUp(dir string, now time.Time) (string, error) {
	name := filepath.Join(dir, "recover-backup-"+now.UTC().Format("20060102T150405.000Z"))
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("raftstore: backup %s exists already: wait a second and try again", name)
	}
	tmp := name + ".tmp"
	err := os.Mkdir(tmp, 0o700)
	for _, f := range []string{identityFile, logFile} {
		if err == nil {
			err = copyDurably(filepath.Join(dir, f), filepath.Join(tmp, f))
		}
	}
	if err == nil {
		err = copySnapshots(filepath.Join(dir, snapshotDir), filepath.Join(tmp, snapshotDir))
	}
	if err == nil {
		err = syncDir(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		// Half a backup helps nobody, and takes room.
		return "", errors.Join(fmt.Errorf("raftstore: back up %s: %w: nothing else was changed; DataDir must be writable and have room for a copy of %s", dir, err, logFile), os.RemoveAll(tmp))
	}
	return name, nil
}

// copySnapshots copies a directory of snapshots, each a directory of files.
func copySnapshots(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	var dirs []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == from {
			return nil // there were none ever
		}
		rel, relErr := filepath.Rel(from, path)
		if err = errors.Join(err, relErr); err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case path == from && !e.IsDir():
			return fmt.Errorf("%s is no directory", from)
		case path == from:
			dirs = append(dirs, to)
			return nil
		case e.IsDir():
			dirs = append(dirs, target)
			return os.Mkdir(target, 0o700)
		case e.Type().IsRegular():
			return copyDurably(path, target)
		}
		return nil
	})
	for _, d := range dirs {
		if err == nil {
			err = syncDir(d)
		}
	}
	return err
}

// copyDurably copies one file and has it on the disk when it returns.
func copyDurably(from, to string) error {
	in, err := os.Open(from) //#nosec G304 -- the file lies in DataDir, which the operator names
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()                                     // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //#nosec G304 -- the operator says where backups go
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
