// Package client routes requests of programs outside the cluster: it knows
// which node leads the partition of a key, follows changes within
// milliseconds, and tries again where that is safe.
//
//	c, err := client.New([]string{"10.0.0.1:8080"}, client.WithService("kv"))
//	defer c.Close()
//	err = c.Do(ctx, client.Request{Key: "user:123", Write: true}, func(ctx context.Context, t client.Target) error {
//		return post(ctx, "http://"+t.Addr+"/kv/set", …)
//	})
//
// What crosses the network is the caller's: HTTP, gRPC, anything. The function
// says what became of an attempt by its error: NotPrimary (with a hint, if the
// node knows better), NotDone (nothing happened, another attempt is safe), or
// any other error, after which only a read or an idempotent write is tried
// again.
//
// The map comes from GET /cluster of any node, changes from its /events stream;
// while no stream can be had, HEAD and the ETag are polled. docs/client.md is the
// specification for other languages, with test vectors in ring/testdata and
// testdata.
package client
