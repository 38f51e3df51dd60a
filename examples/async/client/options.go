package client

import (
	"errors"
	"fmt"
	"time"
)

// Option changes a default.
type Option func(*options)

type options struct {
	linger, timeout, maxLag time.Duration
	batch, queued           int
}

func defaults() options {
	return options{linger: time.Millisecond, timeout: 10 * time.Second, batch: 1000, queued: 50_000}
}

// WithLinger says how long a write may wait for others that travel with it.
// Default 1 ms. 0: every write is a request of its own.
func WithLinger(d time.Duration) Option { return func(o *options) { o.linger = d } }

// WithBatch says how many writes are sent without waiting for more. Default 1000.
func WithBatch(n int) Option { return func(o *options) { o.batch = n } }

// WithQueue bounds the writes that are queued or under way; Set waits for room.
// Default 50,000.
func WithQueue(n int) Option { return func(o *options) { o.queued = n } }

// WithTimeout bounds a write, a read, and every call without a context of its
// own. Default 10 s.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithMaxLag lets any in-sync replica answer reads that had all writes at most
// d ago. Default 0: the primary answers.
func WithMaxLag(d time.Duration) Option { return func(o *options) { o.maxLag = d } }

func (o *options) validate() error {
	var errs []error
	if o.linger < 0 {
		errs = append(errs, fmt.Errorf("client: WithLinger(%v): use 0 or more", o.linger))
	}
	if o.batch < 1 {
		errs = append(errs, fmt.Errorf("client: WithBatch(%d): use 1 or more", o.batch))
	}
	if o.queued < 1 {
		errs = append(errs, fmt.Errorf("client: WithQueue(%d): use 1 or more", o.queued))
	}
	if o.timeout <= 0 {
		errs = append(errs, fmt.Errorf("client: WithTimeout(%v): use a duration above 0", o.timeout))
	}
	if o.maxLag < 0 {
		errs = append(errs, fmt.Errorf("client: WithMaxLag(%v): use 0 or more", o.maxLag))
	}
	return errors.Join(errs...)
}
