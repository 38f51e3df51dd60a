package feed

import (
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// What happens to the nodes of a lab: disks that are slow, links that are cut,
// processes that die and power that fails.

// anew is a file system that makes a new file instead of using one again: of a
// log of pebble's that is such a file, errorfs sees no sync.
type anew struct{ vfs.FS }

// ReuseForWrite implements vfs.FS.
func (f anew) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Remove(old); err != nil {
		return nil, err
	}
	return f.Create(name, category)
}

// onDisk has the syncs of a node's write-ahead logs take time: of all of them if
// the test wants slow disks, and otherwise of those that are new files, because
// pebble waits for a sync with locks held, and when another goroutine wants one of
// them for long, virtual time stands still.
func (l *lab) onDisk(id string, fs vfs.FS) vfs.FS {
	slow := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error { return l.slowDisk(id, op) }))
	if l.slow {
		return anew{slow}
	}
	return slow
}

func (l *lab) slowDisk(id string, op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if strings.HasSuffix(op.Path, ".log") {
			l.mu.Lock()
			d := l.syncs[id] + time.Duration(l.rng.Int64N(int64(3*time.Millisecond)))
			l.mu.Unlock()
			time.Sleep(d)
		}
	}
	return nil
}

// sync has a node's syncs take longer from now on; see onDisk.
func (l *lab) sync(id string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncs[id] = d
}

// oneWay keeps back what goes from one node to another, for each pair; it ends
// all other cuts.
func (l *lab) oneWay(pairs ...[2]*labNode) {
	l.net.Heal()
	for _, p := range pairs {
		l.net.Cut(p[0].ip, p[1].ip)
	}
}

// cut keeps everything from and to nodes back; no nodes end all cuts.
func (l *lab) cut(nodes ...*labNode) {
	l.net.Heal()
	for _, n := range nodes {
		l.net.Isolate(n.ip)
	}
}

// kill is kill -9, and a loss of power: connections break, and what was not on
// disk may be gone.
func (n *labNode) kill() {
	n.lab.mu.Lock()
	percent := n.lab.rng.IntN(101)
	n.lab.mu.Unlock()
	n.killKeeping(percent)
}

// killKeeping is kill that keeps some percent of what was not on disk.
func (n *labNode) killKeeping(percent int) {
	if n.stop == nil {
		return
	}
	n.dead.Store(true) // it answers nothing from here on: its lease has no holder
	n.lab.mu.Lock()
	next := n.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: n.lab.rng})
	n.lab.mu.Unlock()
	n.host.Crash()
	n.end()
	n.lab.disks[n.id] = next
}

// end ends a node's life.
func (n *labNode) end() {
	if n.stop == nil {
		return
	}
	n.stop()
	if err := n.server.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.Node.Close()
	n.running.Wait()
	if err := n.store.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.lab.mu.Lock()
	n.lab.told = append(n.lab.told, n.events.kept...)
	n.lab.mu.Unlock()
	n.stop = nil
}
