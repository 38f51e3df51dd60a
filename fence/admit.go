package fence

import "fmt"

// Do carries out a write that was sent under the epoch, if no higher one has
// been accepted for the partition: otherwise it returns a *StaleError and does
// not call write. An epoch that is higher than all before is made durable
// first, which costs an fsync (concurrent ones share it). While write runs no
// higher epoch is accepted for the partition, so that what a primary does
// under a new epoch never mixes with what is left of an old one. It returns
// what write returns.
func (f *Fence) Do(partition int, epoch uint64, write func() error) error {
	p, err := f.part(partition)
	if err != nil {
		return err
	}
	for {
		done, err := p.try(partition, epoch, write)
		if done {
			return err
		}
		if err := f.Raise(partition, epoch); err != nil {
			return err
		}
	}
}

// try runs write if the epoch is the accepted one, and reports whether the
// matter is settled: it is not when the epoch must be raised first.
func (p *part) try(partition int, epoch uint64, write func() error) (bool, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case epoch < p.epoch || epoch == 0:
		return true, &StaleError{Partition: partition, Epoch: epoch, Highest: p.epoch}
	case epoch > p.epoch:
		return false, nil
	}
	return true, write()
}

// Raise accepts an epoch: lower ones are refused from then on. It waits for
// writes that run under lower ones, and returns when the epoch is durable. It
// is a *StaleError when a higher one has been accepted, and nil when this one
// has. Call it when a node becomes primary or replica under a new epoch, to
// shut older primaries out before the first write.
func (f *Fence) Raise(partition int, epoch uint64) error {
	p, err := f.part(partition)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case epoch < p.epoch || epoch == 0:
		return &StaleError{Partition: partition, Epoch: epoch, Highest: p.epoch}
	case epoch == p.epoch:
		return nil
	}
	slot := 1 - p.slot // the one that does not hold the accepted epoch
	if p.epoch == 0 {
		slot = 0
	}
	if err := f.store(partition, slot, epoch); err != nil {
		return fmt.Errorf("fence: partition %d: epoch %d was not made durable, and nothing is accepted under it: %w", partition, epoch, err)
	}
	p.epoch, p.slot = epoch, slot
	return nil
}

// Highest returns the highest accepted epoch of the partition; 0 for none.
func (f *Fence) Highest(partition int) uint64 {
	p, err := f.part(partition)
	if err != nil {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.epoch
}

func (f *Fence) part(i int) (*part, error) {
	if i < 0 || i >= len(f.parts) {
		return nil, fmt.Errorf("fence: partition %d: there are %d", i, len(f.parts))
	}
	return &f.parts[i], nil
}

// store writes one slot and waits until it is durable. After an error the
// file is not trusted any more: what a failed fsync has written is unknown.
func (f *Fence) store(partition, slot int, epoch uint64) error {
	b := slotOf(partition, epoch)
	f.mu.Lock()
	if f.failed != nil {
		defer f.mu.Unlock()
		return f.failed
	}
	_, err := f.file.WriteAt(b, headerSize+int64(2*partition+slot)*slotSize)
	if err != nil {
		f.failed = err
	}
	round := f.syncing
	f.mu.Unlock()
	if err != nil {
		return err
	}
	round.once.Do(func() {
		f.running.Lock()
		defer f.running.Unlock()
		f.mu.Lock()
		f.syncing = new(syncOnce) // writes from here on need another
		f.mu.Unlock()
		if round.err = f.file.Sync(); round.err != nil {
			f.mu.Lock()
			f.failed = round.err
			f.mu.Unlock()
		}
	})
	return round.err
}

// Close closes the file. Nothing may be under way, or follow.
func (f *Fence) Close() error { return f.file.Close() }
