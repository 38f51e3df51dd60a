package register

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skshohagmiah/clusterkit/examples/internal/kvapi"
	"github.com/skshohagmiah/clusterkit/examples/internal/store"
)

const (
	// roundWait bounds one round: members that do not answer are asked again.
	roundWait = time.Second
	// hedgeAfter is when a round that asked just a quorum asks the others too.
	hedgeAfter = 4 * time.Millisecond
	// againAfter is the pause after a round that came to nothing.
	againAfter = 5 * time.Millisecond
)

// Configs knows the newest Config of each partition.
type Configs interface {
	// Config returns it as far as it is known, Number 0 when it is not.
	Config(partition int) Config
	// Learn takes a Config over, if it is newer.
	Learn(partition int, c Config)
	// Refresh looks for a newer one, and returns when it has looked, or soon.
	Refresh(ctx context.Context, partition int)
}

// Coordinator carries reads and writes out. It is safe for concurrent use.
type Coordinator struct {
	configs   Configs
	transport Transport
	writer    uint64 // no other coordinator has it
	sequence  atomic.Uint64
	turn      atomic.Uint32
	shortcuts shortcuts
}

// shortcuts leaves one of the package's rules out, for the test that it is needed.
type shortcuts struct {
	readAny, noWriteBack, newVersionOnRetry, noQuery bool
}

// NewCoordinator returns a Coordinator with a writer's number of its own.
func NewCoordinator(configs Configs, t Transport) *Coordinator {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Coordinator{configs: configs, transport: t, writer: binary.BigEndian.Uint64(b[:])}
}

// Errors of a Coordinator; kvapi.ErrUnknown is the other one.
var (
	// ErrUnavailable: nothing was done, since no quorum answered in time.
	ErrUnavailable = fmt.Errorf("register: no quorum of the partition's replicas answers: %w", kvapi.ErrUnavailable)
)

// errNoQuorum is a round that came to nothing.
var errNoQuorum = errors.New("register: no quorum in this round")

// Read returns the record that the last completed write left, or that of one
// under way; false when there is none, or when it was deleted. It tries until
// ctx ends. Error: ErrUnavailable.
func (c *Coordinator) Read(ctx context.Context, partition int, key string) (value []byte, found bool, err error) {
	newest, agreed, err := c.query(ctx, partition, key)
	if err != nil {
		return nil, false, err
	}
	if !agreed && !c.shortcuts.noWriteBack {
		// Somebody may have completed a write that only some members have, or
		// may be about to: a later read must not see an older record.
		if err := c.spread(ctx, newest); err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return newest.Value, newest.Version != store.Version{} && !newest.Deleted, nil
}

// ReadOne returns the record of one member, whichever answers first of those
// that it asks: one question instead of two, and no promise. It may be older
// than what a completed write left, and older than what was read before.
func (c *Coordinator) ReadOne(ctx context.Context, partition int, key string) (value []byte, found bool, err error) {
	weak := Coordinator{configs: c.configs, transport: c.transport, writer: c.writer, shortcuts: shortcuts{readAny: true, noWriteBack: true}}
	weak.turn.Store(c.turn.Add(1))
	return weak.Read(ctx, partition, key)
}

// Write sets a key, or deletes it. It tries until ctx ends.
//
//	nil                 a quorum has it on disk
//	ErrUnavailable      nothing was done
//	kvapi.ErrUnknown    it may take effect at any time, or never
func (c *Coordinator) Write(ctx context.Context, partition int, key string, value []byte, deleted bool) error {
	record := store.Record{Partition: partition, Key: key, Value: value, Deleted: deleted}
	sequence := c.sequence.Add(1)
	for {
		newest := store.Record{}
		if !c.shortcuts.noQuery {
			var err error
			if newest, _, err = c.query(ctx, partition, key); err != nil {
				return err
			}
		}
		record.Version = store.Version{Epoch: newest.Version.Epoch + 1, Writer: c.writer, Sequence: sequence}
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if c.shortcuts.newVersionOnRetry {
			attempt, cancel = context.WithTimeout(ctx, roundWait/4)
			sequence = c.sequence.Add(1)
		}
		err := c.spread(attempt, record)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", kvapi.ErrUnknown, err)
		}
	}
}

// query returns the newest record that a quorum has, and whether all of the
// quorum have it.
func (c *Coordinator) query(ctx context.Context, partition int, key string) (newest store.Record, agreed bool, err error) {
	err = c.insist(ctx, partition, func(config *Config) error {
		answers, err := c.round(ctx, config, partition, kindGet, encodeGet(partition, config.Number, key))
		if err != nil {
			return err
		}
		newest, agreed = store.Record{Partition: partition, Key: key}, true
		for i, a := range answers {
			var record store.Record
			if a.Kind == answerOK {
				if record, _, err = store.DecodeRecord(a.Body); err != nil || record.Key != key || record.Partition != partition {
					return errMalformed
				}
			}
			agreed = agreed && (i == 0 || record.Version == newest.Version)
			if record.Version.Compare(newest.Version) > 0 {
				newest = record
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return newest, agreed, err
}

// spread has a quorum keep a record, under the version that it has.
func (c *Coordinator) spread(ctx context.Context, record store.Record) error {
	return c.insist(ctx, record.Partition, func(config *Config) error {
		_, err := c.round(ctx, config, record.Partition, kindPut, encodePut(config.Number, &record))
		return err
	})
}

// insist repeats a round, each time by the newest Config, until ctx ends.
func (c *Coordinator) insist(ctx context.Context, partition int, round func(*Config) error) error {
	for {
		err := ctx.Err()
		if err != nil {
			return err
		}
		config := c.configs.Config(partition)
		if config.Number > 0 {
			if err = round(&config); err == nil {
				return nil
			}
		}
		if c.configs.Config(partition).Number > config.Number {
			continue // learned on the way
		}
		c.configs.Refresh(ctx, partition)
		t := time.NewTimer(againAfter)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}
