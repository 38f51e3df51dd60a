package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/skshohagmiah/clusterkit"
	"github.com/skshohagmiah/clusterkit/examples/custom-data/flags"
)

const (
	sequencePrefix = "sequences/"
	// maxBlock bounds how many numbers one request takes.
	maxBlock = 1_000_000
	// yieldMin and yieldMax bound the pause after another node was faster.
	yieldMin = time.Millisecond
	yieldMax = 50 * time.Millisecond
)

// sequences hand out numbers that no two requests get, at whichever nodes they
// are made. A key of the metadata holds the next number; each step is decided
// on what was read, and taken by compare-and-set.
type sequences struct {
	cluster flags.Cluster
	// turn (cap 1) lets one request of this node try at a time: they would only
	// refuse one another.
	turn chan struct{}
}

func newSequences(c flags.Cluster) *sequences {
	return &sequences{cluster: c, turn: make(chan struct{}, 1)}
}

// take returns the first of count numbers in a row. After an error that is not
// a conflict the numbers may be taken, and belong to nobody: a sequence has gaps.
func (s *sequences) take(ctx context.Context, name string, count uint64) (uint64, error) {
	if !flags.ValidName(name) {
		return 0, fmt.Errorf("%w: name %.80q: use 1 to 64 of a-z 0-9 . _ -", clusterkit.ErrInvalid, name)
	}
	if count < 1 || count > maxBlock {
		return 0, fmt.Errorf("%w: count %d: use 1 to %d", clusterkit.ErrInvalid, count, maxBlock)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", clusterkit.ErrUnavailable, ctx.Err())
	}
	for pause := yieldMin; ; pause = min(2*pause, yieldMax) {
		next, version, err := s.next(name)
		if err != nil {
			return 0, err
		}
		err = s.cluster.CompareAndSetCustomData(ctx, sequencePrefix+name, version, strconv.AppendUint(nil, next+count, 10))
		if !errors.Is(err, clusterkit.ErrConflict) {
			return next, err
		}
		select {
		//#nosec G404 -- jitter is no secret
		case <-time.After(rand.N(pause)): // until this node has heard of the other's step
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: other nodes were faster: %w", clusterkit.ErrUnavailable, ctx.Err())
		}
	}
}

// next returns the next number and the version of the key that says so.
func (s *sequences) next(name string) (next, version uint64, err error) {
	d := s.cluster.Snapshot().Datum(sequencePrefix + name)
	if d == nil {
		return 1, 0, nil
	}
	next, err = strconv.ParseUint(string(d.Value), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%s holds %.40q, which is no number: delete it", d.Key, d.Value)
	}
	return next, d.Version, nil
}
