package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/skshohagmiah/clusterkit/client"
)

// exampleCluster is a cluster of three nodes, whose first one leads.
func exampleCluster() (seed string, end func()) {
	c := fake(1, "a")
	return c.addr(), c.Close
}

func ExampleNew() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed}, // the HTTP address of any nodes
		client.WithService("kv"),                  // requests go to this service of theirs
		client.WithReadPolicy(client.ReadNearest), // reads go to the fastest in-sync replica
		client.WithHedging(20*time.Millisecond),   // and to a second one if that takes longer
		client.WithConnections(256),               // about the number of concurrent requests
	)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	m, err := c.Ready(context.Background())
	fmt.Println(len(m.Nodes), "nodes", err)
	// Output: 3 nodes <nil>
}

func ExampleClient_Do() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed}, client.WithService("kv"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Do(context.Background(), client.Request{Key: "user:123", Write: true}, func(_ context.Context, t client.Target) error {
		fmt.Println("write to", t.Node, "at", t.Addr, "under epoch", t.Epoch)
		return nil
	})
	fmt.Println(err)
	// Output:
	// write to a at kv-a under epoch 2
	// <nil>
}

// An attempt says by its error what became of it, and Do goes on accordingly.
func ExampleClient_Do_outcomes() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	answers := []error{
		client.NotPrimary("b"),                          // the node knows a better one: it is asked at once
		client.NotDone(errors.New("too busy")),          // nothing happened: another attempt is safe
		client.Final(errors.New("the key is too long")), // an answer: no other attempt is made
	}
	err = c.Do(context.Background(), client.Request{Key: "user:123", Write: true}, func(_ context.Context, t client.Target) error {
		answer := answers[t.Attempt-1]
		fmt.Printf("%s: %v\n", t.Node, answer)
		return answer
	})
	fmt.Println("Do:", err)
	// Output:
	// a: client: the node is not the primary: ask b
	// b: too busy
	// a: the key is too long
	// Do: the key is too long
}

// A write whose answer was lost may have been done. Do repeats it only if that
// does no harm.
func ExampleRequest() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	lost := func(_ context.Context, t client.Target) error {
		if t.Attempt == 1 {
			return errors.New("connection reset")
		}
		return nil
	}
	err = c.Do(context.Background(), client.Request{Key: "balance", Write: true}, lost)
	fmt.Println(errors.Is(err, client.ErrUnknown))
	err = c.Do(context.Background(), client.Request{Key: "name", Write: true, Idempotent: true}, lost)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleClient_Ready() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed}, client.WithService("kv"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, err := c.Ready(ctx)
	if err != nil {
		log.Fatal(err) // says what each node answered
	}
	p := m.Locate("user:123")
	fmt.Println(p.ID, "is led by", p.Primary.ID)
	for _, r := range p.Replicas {
		fmt.Println("and is in-sync at", r.ID, r.Addr)
	}
	// Output:
	// partition-0 is led by a
	// and is in-sync at b kv-b
	// and is in-sync at c kv-c
}

// HTTP has keep-alive connections to every node.
func ExampleClient_HTTP() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	err = c.Do(context.Background(), client.Request{Key: "user:123"}, func(ctx context.Context, t client.Target) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Addr+"/cluster", nil)
		if err != nil {
			return client.Final(err)
		}
		resp, err := c.HTTP().Do(req)
		if err != nil {
			return err
		}
		fmt.Println(resp.StatusCode)
		return resp.Body.Close()
	})
	fmt.Println(err)
	// Output:
	// 200
	// <nil>
}

func ExampleWithTLS() {
	cluster := model(1, "a")
	server := httptest.NewTLSServer(cluster.handler())
	defer server.Close()
	cluster.token = "secret"

	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	c, err := client.New([]string{server.Listener.Addr().String()},
		client.WithTLS(&tls.Config{RootCAs: authorities}), client.WithAuthToken("secret"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Ready(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

// All replicas are asked at once; two answers are enough.
func ExampleQuorum() {
	seed, end := exampleCluster()
	defer end()
	c, err := client.New([]string{seed})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	m, err := c.Ready(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	p := m.Locate("user:123")
	nodes := append([]*client.Node{p.Primary}, p.Replicas...)
	err = client.Quorum(context.Background(), nodes, 2, func(_ context.Context, n *client.Node) error {
		if n.ID == "b" {
			return errors.New("unreachable")
		}
		return nil
	})
	fmt.Println("2 of 3:", err)
	err = client.Quorum(context.Background(), nodes, 3, func(_ context.Context, n *client.Node) error {
		if n.ID == "b" {
			return errors.New("unreachable")
		}
		return nil
	})
	fmt.Println("3 of 3:", err)
	// Output:
	// 2 of 3: <nil>
	// 3 of 3: client: 1 of 3 nodes failed, 3 must succeed: b: unreachable
}

// The simplest client: any node, which has the primary answer.
func ExampleRoundRobin_Do() {
	node := httptest.NewServer(http.NotFoundHandler())
	defer node.Close()
	up, down := strings.TrimPrefix(node.URL, "http://"), "127.0.0.1:1"

	r, err := client.NewRoundRobin([]string{down, up})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		err = r.Do(context.Background(), func(ctx context.Context, addr string) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/kv/get?key=user:123", nil)
			if err != nil {
				return client.Final(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err // a node that cannot be reached is followed by the next
			}
			fmt.Println(resp.Status)
			return resp.Body.Close()
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 404 Not Found
	// 404 Not Found
}
